"""Law 9: a job that failed on one worker is left to another; nobody waits for a worker that is not there."""

from ledger_parts import ARTIFACTS, BROKE, POOL, admit, claimed, new_job, pass_time
from redis import Redis

from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger
from farm.ledger.operations import Actor

BAD, GOOD = "bad", "good"


def live(ledger: Ledger, *workers: str, slots: int = 1) -> None:
    for worker in workers:
        ledger.worker_seen(worker, POOL, WorkerStatus(), ttl_s=60, slots=slots)


def failed_on_bad(ledger: Ledger, redis: Redis, *jobs: str) -> None:
    for job in jobs:
        claim = claimed(ledger, worker=BAD)
        assert claim.job.id == job
        ledger.fail(job, claim.attempt, BROKE)
    pass_time(redis, 5)  # the backoff; workers are seen for longer
    ledger.reap()


def test_a_failed_job_is_left_to_another_worker(ledger: Ledger, redis: Redis) -> None:
    live(ledger, BAD, GOOD)
    jobs = admit(ledger, new_job(), new_job())
    (other,) = admit(ledger, new_job("zenith"))
    failed_on_bad(ledger, redis, jobs[0])
    # the next of the tenant, then another tenant's, then nothing
    assert [claimed(ledger, worker=BAD).job.id for _ in range(2)] == [jobs[1], other]
    assert ledger.claim(POOL, BAD) is None
    retry = claimed(ledger, worker=GOOD)
    assert (retry.job.id, retry.job.failed_on) == (jobs[0], BAD)
    ledger.fail(jobs[0], retry.attempt, BROKE)
    pass_time(redis, 10)
    again = claimed(ledger, worker=BAD)
    assert (again.job.id, again.job.failed_on) == (jobs[0], GOOD), "it failed on both: either may try"


def test_the_loaded_lane_does_not_bring_it_back(ledger: Ledger, redis: Redis) -> None:
    live(ledger, BAD, GOOD)
    first, second = admit(ledger, new_job(lane="a"), new_job(lane="b"))
    failed_on_bad(ledger, redis, first)
    assert claimed(ledger, worker=BAD, loaded="a").job.id == second


def test_nobody_waits_for_a_worker_that_is_not_there(ledger: Ledger, redis: Redis) -> None:
    live(ledger, BAD)
    live(ledger, "quarantined", slots=0)
    (job,) = admit(ledger, new_job(max_attempts=9))
    failed_on_bad(ledger, redis, job)
    retry = claimed(ledger, worker=BAD)
    ledger.fail(job, retry.attempt, BROKE)
    pass_time(redis, 10)
    live(ledger, GOOD)
    assert ledger.claim(POOL, BAD) is None
    # nor for ever for one that is
    redis.hincrby(f"wf:job:{job}", "queued_ms", -601_000)
    late = claimed(ledger, worker=BAD)
    ledger.fail(job, late.attempt, BROKE)
    pass_time(redis, 100)
    assert claimed(ledger, worker=BAD).job.id == job, "the other was not seen again"


def test_where_no_worker_is_known_a_failed_job_is_taken(ledger: Ledger, redis: Redis) -> None:
    jobs = admit(ledger, new_job(), new_job())
    failed_on_bad(ledger, redis, *jobs)
    for job in jobs:
        claim = claimed(ledger, worker=BAD)
        assert claim.job.id == job
        ledger.commit(job, claim.attempt, ARTIFACTS, gpu_s=1)


def test_a_worker_hears_once_that_it_was_forgiven(ledger: Ledger) -> None:
    assert not ledger.forgiven(BAD)
    ledger.forgive(BAD, Actor("key k1", "a new card"))
    [told] = ledger.operations()
    assert (told.who, told.why, told.target) == ("key k1", "a new card", f"worker {BAD}")
    assert (told.act, told.before, told.after) == ("forgive", "quarantined", "on")
    assert (ledger.forgiven(GOOD), ledger.forgiven(BAD), ledger.forgiven(BAD)) == (False, True, False)
