"""How many commands Redis carries out for one call: what a claim costs, the same on every machine."""

import pytest
from ledger_parts import ARTIFACTS, POOL, admit, commands, new_job
from redis import Redis

from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger
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
