"""How many commands Redis carries out for one call: what it costs, the same on every machine."""

from functools import partial

import pytest
from batch_parts import Manifest
from ledger_parts import ARTIFACTS, POOL, REFUSED, admit, audit, commands, new_job
from redis import Redis

from farm.jobs.states import HoldReason, State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger, SwitchKind
from farm.ledger.upkeep import AUDITED_AT_ONCE, CHILDREN_OF_A_CALL
from farm.scheduling.memory_fit import Memory

BIG, NEEDS = Memory(140_000, 200_000), "80000:1000"


@pytest.mark.parametrize(
    ("loaded", "lanes", "most"),
    [
        (None, ["a"], 32),
        ("a", ["a", "b", "a"], 32),
        ("a", ["b", "b", "a"], 38),
    ],
)
def test_a_claim_makes_few_calls(ledger: Ledger, redis: Redis, loaded: str | None, lanes: list[str], most: int) -> None:
    """In a pool of equal workers, where no tenant has a limit and nothing is paused."""
    ledger.worker_seen("w", POOL, WorkerStatus(), ttl_s=60)
    admit(ledger, new_job("another", needs=NEEDS))
    before = ledger.claim(POOL, "w", memory=BIG)
    assert before is not None
    ledger.commit(before.job.id, before.attempt, ARTIFACTS, gpu_s=1)  # and the scripts are loaded
    admit(ledger, *(new_job(lane=lane, needs=NEEDS) for lane in lanes * 20), new_job("third", lane="c", needs=NEEDS))
    claim, calls = commands(redis, lambda: ledger.claim(POOL, "w", loaded=loaded, memory=BIG))
    assert claim is not None
    assert claim.job.lane == (loaded or "a")
    assert calls <= most
    job, fence = claim.job.id, claim.attempt
    _, calls = commands(redis, lambda: ledger.commit(job, fence, ARTIFACTS, gpu_s=1))
    assert calls <= 34
    _, calls = commands(redis, lambda: ledger.claim("none", "w"))
    assert calls <= 11, "nothing is queued"


def test_an_admission_makes_few_calls_among_many_tenants(ledger: Ledger, redis: Redis) -> None:
    """Where every slot has its permit, nobody counts what could be claimed; where not, every tenant's queue counts."""
    ledger.worker_seen("w", POOL, WorkerStatus(), ttl_s=60, slots=50)
    _, wanted = ledger.admit([new_job(f"tenant-{n}") for n in range(40)])
    assert len(wanted) == 40
    _, wanted = ledger.admit([new_job(f"other-{n}") for n in range(40)])
    assert len(wanted) == 10
    (_, wanted), calls = commands(redis, lambda: ledger.admit([new_job()]))
    assert wanted == []
    assert calls <= 38


def seen_to(ledger: Ledger, redis: Redis) -> list[int]:
    """The commands of each call, until all children of what ended were seen to."""
    each, looked = list[int](), 1
    while looked:
        looked, calls = commands(redis, ledger.see_to_children)
        each.append(calls)
    return each


def test_calls_are_short_where_jobs_follow_many(ledger: Ledger, redis: Redis) -> None:
    """Sixty jobs behind the same twelve: placing them, and the ends of those twelve."""
    batch = Manifest(72, per_chunk=50, parents={n: range(12) for n in range(12, 72)})
    batch.stage(ledger)
    batch.flip(ledger)
    for _ in batch.chunks:
        _, calls = commands(redis, lambda: ledger.place_chunk(batch.id))
        assert calls < 30 * 50
    assert ledger.place_chunk(batch.id) == (0, [])
    for _ in range(12):
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        job, fence = claim.job.id, claim.attempt
        _, calls = commands(redis, partial(ledger.commit, job, fence, ARTIFACTS, gpu_s=1))
        assert calls < 300
        assert all(calls < 10 * CHILDREN_OF_A_CALL for calls in seen_to(ledger, redis))
    assert ledger.counts("acme")[State.QUEUED] == 60
    assert ledger.held_counts("acme")[HoldReason.DEPENDENCY] == 0
    assert audit(ledger) == {}


def test_an_audit_reads_some_parents_in_a_call(ledger: Ledger, redis: Redis) -> None:
    Manifest(164, per_chunk=100, parents={n: range(64) for n in range(64, 164)}).admit(ledger)
    jobs = [job.removeprefix("wf:job:") for job in redis.scan_iter("wf:job:*")]
    done, most = 0, 0
    while done < len(jobs):
        (looked, *drift), calls = commands(redis, partial(ledger.run, "audit_jobs", AUDITED_AT_ONCE, *jobs[done:]))
        assert drift == []
        done, most = done + looked, max(most, calls)
    assert most < 60 * AUDITED_AT_ONCE
    assert audit(ledger, AUDITED_AT_ONCE) == {}


def test_the_end_of_one_that_many_follow_is_short(ledger: Ledger, redis: Redis) -> None:
    Manifest(300, per_chunk=100, parents={n: [0] for n in range(1, 300)}).admit(ledger)
    claim = ledger.claim(POOL, "w")
    assert claim is not None
    _, calls = commands(redis, lambda: ledger.fail(claim.job.id, claim.attempt, REFUSED))
    assert calls < 1500
    assert all(calls < 30 * CHILDREN_OF_A_CALL for calls in seen_to(ledger, redis))
    assert ledger.counts("acme")[State.FAILED] == 300


def test_an_explanation_is_short_where_an_operator_locked_every_worker(ledger: Ledger, redis: Redis) -> None:
    for number in range(300):
        ledger.worker_seen(f"w{number}", POOL, WorkerStatus(), ttl_s=60, slots=2)
        ledger.pause(SwitchKind.WORKER, f"w{number}", who="ops", why="a test")
    [job] = admit(ledger, new_job())
    standing, calls = commands(redis, lambda: ledger.standing(job))
    assert standing is not None
    assert (standing.capacity, standing.locked) == (0, 600)
    assert calls < 60


def test_the_end_of_an_attempt_is_short_where_a_cap_binds_in_many_pools(ledger: Ledger, redis: Redis) -> None:
    redis.hset("wf:tenant:acme", "max_running", 2)
    pools = [f"pool-{number}" for number in range(30)]
    admit(ledger, *(new_job(pool=pool) for pool in pools), *(new_job() for _ in range(3)))
    first, _ = ledger.claim(POOL, "w1"), ledger.claim(POOL, "w2")
    assert first is not None
    assert [ledger.claim(pool, "w3") for pool in pools] == [None] * len(pools)
    redis.hset("wf:tenant:acme", "max_running", 1)
    _, calls = commands(redis, lambda: ledger.commit(first.job.id, first.attempt, ARTIFACTS, gpu_s=1))
    assert calls < 6 * len(pools), "each pool is asked once what runs there"


def test_a_reap_is_short_where_many_tenants_come_back_to_many_lines(ledger: Ledger, redis: Redis) -> None:
    pools, tenants = [f"pool-{number}" for number in range(10)], [f"tenant-{number}" for number in range(30)]
    admit(ledger, *(new_job(tenant, pool=pool) for tenant in tenants for pool in pools))
    for tenant in tenants:
        redis.hset(f"wf:tenant:{tenant}", "max_running", 0)
    assert [ledger.claim(pool, "w") for pool in pools] == [None] * len(pools)
    for tenant in tenants:
        redis.hdel(f"wf:tenant:{tenant}", "max_running")
    some, calls = commands(redis, ledger.reap)
    assert calls < 2_000
    assert not some.more
    while redis.exists("wf:set-aside"):
        ledger.reap()
    assert sum(ledger.claimable(pool, most=100) for pool in pools) == 300
