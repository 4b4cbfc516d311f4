"""Lanes in numbers, and the lines that workers log of a job."""

import time

import pytest
from redis import Redis

from farm.config import Settings
from farm.jobs.job import Fence
from farm.ledger import Ledger
from farm.ledger.job_lines import JobLine
from tests.farm.ledger.ledger_parts import ARTIFACTS, POOL, REFUSED, admit, claimed, new_job


@pytest.fixture
def ledger(redis: Redis, settings: Settings) -> Ledger:
    return Ledger(redis, settings)


def test_a_lane_is_told_by_what_ended_what_runs_and_what_waits(ledger: Ledger, redis: Redis) -> None:
    old, *_ = admit(ledger, *(new_job(lane="fast", priority=1) for _ in range(3)))
    redis.hincrby(f"wf:job:{old}", "queued_ms", -40_000)
    admit(ledger, *(new_job(lane="slow", priority=9) for _ in range(4)), new_job(pool="other", lane="fast"))
    for _ in range(2):
        done = claimed(ledger)
        assert done.job.lane == "slow"
        redis.hincrby(f"wf:job:{done.job.id}", "started_ms", -30_000)
        ledger.commit(done.job.id, done.attempt, ARTIFACTS, gpu_s=1.0)
    bad = claimed(ledger)
    ledger.fail(bad.job.id, bad.attempt, REFUSED)
    claimed(ledger)
    now = ledger.lanes()
    fast, slow, other = (
        next(one for one in now.lanes if (one.pool, one.lane) == name)
        for name in ((POOL, "fast"), (POOL, "slow"), ("other", "fast"))
    )
    assert (fast.queued, fast.running, fast.done, fast.mean_s) == (3, 0, 0, None)
    assert fast.oldest_ms is not None
    assert now.now_ms - fast.oldest_ms >= 40_000
    assert (slow.queued, slow.running, slow.done, slow.failed, slow.oldest_ms) == (0, 1, 2, 1, None)
    assert slow.mean_s is not None
    assert slow.mean_s >= 30
    assert now.per_hour(slow) == 2
    assert (other.queued, now.whole) == (1, True)


def test_lanes_are_told_from_a_bounded_number_of_jobs(ledger: Ledger, redis: Redis) -> None:
    for _ in range(6):
        admit(ledger, *(new_job() for _ in range(200)))
    redis.config_resetstat()
    now = ledger.lanes()
    assert (now.lanes[0].queued, now.whole) == (1000, False)
    assert redis.info("commandstats")["cmdstat_hmget"]["calls"] == 1000


def test_lines_of_an_attempt_are_kept_until_another_follows(ledger: Ledger, redis: Redis) -> None:
    [job] = admit(ledger, new_job())
    first = claimed(ledger)
    lines = [JobLine(int(time.time() * 1000), "claimed"), JobLine(5, "x" * 1000, bad=True)]
    assert ledger.keep_lines(job, first.attempt, lines)
    ledger.release(job, first.attempt)
    # its own last words
    assert ledger.keep_lines(job, first.attempt, [JobLine(6, "handed back")])
    second = claimed(ledger)
    assert not ledger.keep_lines(job, first.attempt, [JobLine(7, "late")])
    assert not ledger.keep_lines(job, Fence(second.attempt, "of nobody"), [JobLine(7, "late")])
    assert [one.text[:11] for one in ledger.lines_of(job)] == ["claimed", "x" * 11, "handed back"]
    assert ledger.lines_of(job)[1] == JobLine(5, "x" * 300, bad=True)
    ledger.keep_lines(job, second.attempt, [JobLine(n, str(n)) for n in range(150)])
    assert [one.text for one in ledger.lines_of(job)] == [str(n) for n in range(50, 150)]
    ledger.commit(job, second.attempt, ARTIFACTS, gpu_s=1.0)
    assert ledger.keep_lines(job, second.attempt, [JobLine(8, "committed")])
    ledger.forget(int(time.time() * 1000) + 60_000, 10)
    assert not redis.exists(f"wf:lines:{job}")
    assert not ledger.keep_lines(job, second.attempt, [JobLine(9, "of a job that is gone")])
