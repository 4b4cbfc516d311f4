"""The clock of the server's host goes back by an hour: what was stored before lasts no longer than its own term."""

import pytest
from ledger_parts import BROKE, POOL, admit, claimed, new_job, outage, pass_time
from redis import Redis

from farm.config import LeaseSettings, Settings
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger

HOUR = 3600.0


@pytest.fixture
def ledger_settings(ledger_settings: Settings) -> Settings:
    return ledger_settings.model_copy(update={"lease": LeaseSettings(seconds=30, backoff_s=10)})


def clock_back(redis: Redis, seconds: float = HOUR) -> None:
    """What is stored, also when the last reap was, is then so far in the future."""
    outage(redis, -seconds)


@pytest.mark.parametrize("seconds", [20.0, HOUR, 400 * HOUR])
def test_a_lease_runs_out_in_its_own_time(seconds: float, ledger: Ledger, redis: Redis) -> None:
    [job_id] = admit(ledger, new_job())
    claimed(ledger)
    ledger.reap()
    clock_back(redis, seconds)
    ledger.reap()
    pass_time(redis, 31)
    assert ledger.reap().expired == 1
    job = ledger.find(job_id)
    assert job is not None
    assert job.state is State.QUEUED


def test_a_lease_that_was_renewed_since_is_not_shortened(ledger: Ledger, redis: Redis) -> None:
    admit(ledger, new_job())
    claim = claimed(ledger)
    ledger.reap()
    clock_back(redis)
    ledger.heartbeat(claim.job.id, claim.attempt)
    assert ledger.reap().expired == 0
    pass_time(redis, 28)
    assert ledger.reap().expired == 0


@pytest.mark.parametrize("seconds", [60.0, HOUR])
def test_a_retry_waits_no_longer_than_it_was_told_to(seconds: float, ledger: Ledger, redis: Redis) -> None:
    [job_id] = admit(ledger, new_job())
    claim = claimed(ledger)
    ledger.fail(claim.job.id, claim.attempt, BROKE)
    ledger.reap()
    clock_back(redis, seconds)
    ledger.reap()
    job = ledger.find(job_id)
    assert job is not None
    assert job.not_before_ms is not None
    assert job.not_before_ms <= int(ledger.run("now")) + 12_500
    pass_time(redis, 13)
    assert ledger.reap().promoted == 1


def test_a_dead_worker_is_seen_to_be_dead(ledger: Ledger, redis: Redis) -> None:
    for worker in ("dead", "alive"):
        ledger.worker_seen(worker, POOL, WorkerStatus(), ttl_s=10)
    ledger.reap()
    clock_back(redis)
    ledger.worker_seen("alive", POOL, WorkerStatus(), ttl_s=10)
    ledger.reap()
    pass_time(redis, 9.5)
    ledger.worker_seen("alive", POOL, WorkerStatus(), ttl_s=10)
    pass_time(redis, 1)
    assert [one.worker for one in ledger.workers()] == ["alive"]


def test_a_permit_of_before_is_replaced(ledger: Ledger, redis: Redis) -> None:
    ledger.worker_seen("w1", POOL, WorkerStatus(), ttl_s=60)
    _, permits = ledger.admit([new_job()])
    assert len(permits) == 1
    clock_back(redis)
    assert len(ledger.permits_wanted(POOL)) == 1


def test_a_rate_limit_asks_for_no_more_than_its_own_pause(ledger: Ledger, redis: Redis) -> None:
    redis.hset("wf:tenant:acme", mapping={"rate_per_minute": 60, "rate_burst": 2})
    assert ledger.rate("acme").allowed
    clock_back(redis)
    assert ledger.rate("acme").retry_after_s <= 1.0


def test_a_job_is_not_kept_from_the_worker_it_failed_on_for_an_hour(ledger: Ledger, redis: Redis) -> None:
    for worker in ("w1", "w2"):
        ledger.worker_seen(worker, POOL, WorkerStatus(), ttl_s=60)
    [job_id] = admit(ledger, new_job())
    claim = claimed(ledger)
    ledger.fail(claim.job.id, claim.attempt, BROKE)
    pass_time(redis, 15)
    redis.hincrby(f"wf:job:{job_id}", "queued_ms", int(HOUR * 1000))
    for worker in ("w1", "w2"):
        ledger.worker_seen(worker, POOL, WorkerStatus(), ttl_s=60)
    assert ledger.claim(POOL, "w1") is not None


def test_what_is_known_of_vanished_workers_is_forgotten(ledger: Ledger, redis: Redis) -> None:
    memory, larger = (WorkerStatus(memory={"device_bytes": size, "host_bytes": None}) for size in (8e9, 9e9))
    ledger.worker_seen("gone", POOL, larger, ttl_s=10)
    ledger.worker_seen("here", POOL, memory, ttl_s=10)
    ledger.reap()
    outage(redis, 700)
    for offer in redis.zrange(f"wf:offered:{POOL}", 0, -1):
        redis.zincrby(f"wf:offered:{POOL}", -700_000, offer)
    ledger.worker_seen("here", POOL, memory, ttl_s=10)
    ledger.reap()
    for kind in ("notes", "facts"):
        assert redis.hkeys(f"wf:{kind}:{POOL}") == ["here"]
    assert [offer.workers for offer in ledger.offers()] == [1]
