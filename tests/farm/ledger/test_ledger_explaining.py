"""Why a job waits: what is before it, and which limit binds."""

from collections.abc import Callable

import pytest
from ledger_parts import ARTIFACTS, BROKE, POOL, admit, claimed, new_job
from redis import Redis

from farm.jobs.job import NewJob
from farm.jobs.standing import Standing
from farm.jobs.states import HoldReason, Tier
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger, SwitchKind
from farm.scheduling.offers import Takers
from farm.wire.own_explain import Binds, explain

BY = {"who": "op", "why": "test"}


def standing(ledger: Ledger, job_id: str) -> Standing:
    found = ledger.standing(job_id)
    assert found is not None
    return found


def binds(ledger: Ledger, job_id: str, *, offered: bool = True) -> Binds:
    job = ledger.find(job_id)
    assert job is not None
    takers = Takers(*(int(offered),) * 3, held=True)
    return explain(job, standing(ledger, job_id), takers=takers).binds


def test_gpu_seconds_before_a_job_are_those_that_are_served_before_it(ledger: Ledger, redis: Redis) -> None:
    """Told beforehand, and then counted."""
    redis.hset("wf:tenant:b", "weight", 2)
    jobs: list[NewJob] = [new_job(tenant, predicted_s=4.0) for tenant in ("a", "b", "b", "c") for _ in range(12)]
    ids = admit(ledger, *jobs)
    ledger.set_tier(ids[40], Tier.URGENT, **BY)
    mine = ids[7]
    told = standing(ledger, mine)
    assert (told.own_s, told.own_exact, told.above_s) == (28.0, True, 4.0)
    own, others = 0.0, 0.0
    while (claim := claimed(ledger)).job.id != mine:
        own += 4.0 if claim.job.tenant == "a" else 0.0
        others += 4.0 if claim.job.tenant != "a" else 0.0
        ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=4.0)
    assert own == told.own_s
    assert others == pytest.approx(told.others_s, abs=8.0)  # a turn of each of the two others


def test_of_a_long_queue_the_shorter_side_is_added_up_and_its_middle_is_at_least_so_much(ledger: Ledger) -> None:
    """No call takes Redis long, however many stand before the job."""
    ids = [job_id for _ in range(22) for job_id in admit(ledger, *[new_job(predicted_s=2.0) for _ in range(100)])]
    told = [(found.own_s, found.own_exact) for found in (standing(ledger, ids[at]) for at in (900, 1100, 2100))]
    assert told == [(1800.0, True), (2000.0, False), (4200.0, True)]


SETUPS: dict[Binds, Callable[[Ledger, Redis, str], object]] = {
    Binds.HELD: lambda ledger, _, job: ledger.hold([job], HoldReason.APPROVAL),
    Binds.BACKOFF: lambda ledger, _, job: ledger.fail(job, claimed(ledger).attempt, BROKE),
    Binds.NOTHING: lambda ledger, _, job: claimed(ledger),
    Binds.TENANT_PAUSED: lambda ledger, _, job: ledger.pause(SwitchKind.TENANT, "acme", **BY),
    Binds.POOL_PAUSED: lambda ledger, _, job: ledger.pause(SwitchKind.POOL, POOL, **BY),
    Binds.LANE_PAUSED: lambda ledger, _, job: ledger.pause(SwitchKind.LANE, "wan-bf16", **BY),
    Binds.CAP: lambda _, redis, job: redis.hset("wf:tenant:acme", "max_running", 0),
    Binds.POOL_CAP: lambda _, redis, job: redis.hset("wf:tenant:acme", f"max_running|{POOL}", 0),
    Binds.POOL: lambda ledger, _, job: ledger.worker_gone("w9", POOL),
    Binds.TIER: lambda ledger, _, job: ledger.set_tier(admit(ledger, new_job("b"))[0], Tier.URGENT, **BY),
    Binds.OWN_JOBS: lambda ledger, _, job: admit(ledger, new_job(priority=9)),
}


@pytest.mark.parametrize("expected", SETUPS)
def test_what_binds_is_told(expected: Binds, ledger: Ledger, redis: Redis) -> None:
    ledger.worker_seen("w9", POOL, WorkerStatus(), ttl_s=60)
    (job_id,) = admit(ledger, new_job())
    SETUPS[expected](ledger, redis, job_id)
    assert binds(ledger, job_id) is expected


def test_a_job_whose_pool_has_no_worker_names_it(ledger: Ledger) -> None:
    (job_id,) = admit(ledger, new_job())
    job = ledger.find(job_id)
    assert job is not None
    told = explain(job, standing(ledger, job_id), takers=Takers(0, 0, 0, held=False))
    assert (told.rule, told.would_change) == (
        f"a job runs on a worker of its pool, {POOL}",
        "a worker of it starts, or an operator moves the job",
    )


def test_shares_memory_models_and_busy_workers_bind(ledger: Ledger) -> None:
    ledger.worker_seen("w9", POOL, WorkerStatus(), ttl_s=60)
    admit(ledger, new_job("a", predicted_s=50.0))
    claimed(ledger)
    (job_id,) = admit(ledger, new_job("a"))
    assert binds(ledger, job_id) is Binds.WORKERS
    assert binds(ledger, job_id, offered=False) is Binds.LANE
    admit(ledger, *[new_job("b") for _ in range(3)])
    assert binds(ledger, job_id) is Binds.SHARE
    (large,) = admit(ledger, new_job("z", needs="999999:1"))
    assert binds(ledger, large) is Binds.MEMORY


def test_a_worker_that_tells_no_memory_holds_any_job(ledger: Ledger) -> None:
    (large,) = admit(ledger, new_job(needs="999999:1"))
    status = WorkerStatus(models=("wan-bf16",), memory={"device_bytes": 1e9, "host_bytes": 1e9, "fp8": False})
    ledger.worker_seen("small", POOL, status, ttl_s=60)
    assert binds(ledger, large) is Binds.MEMORY
    ledger.worker_seen("unknown", POOL, WorkerStatus(models=("wan-bf16",)), ttl_s=60)
    assert binds(ledger, large) is Binds.NOTHING
    claimed(ledger, worker="unknown", models=("wan-bf16",))


def test_a_job_that_is_being_stopped_is_not_said_to_be_at_work(ledger: Ledger) -> None:
    (job_id,) = admit(ledger, new_job())

    def rule() -> str:
        job = ledger.find(job_id)
        assert job is not None
        return explain(job, standing(ledger, job_id), takers=Takers(1, 1, 1, held=True)).rule

    claimed(ledger)
    assert rule() == "it is at work"
    ledger.cancel("acme", job_id)
    assert rule() == "it was cancelled, and is being stopped"
