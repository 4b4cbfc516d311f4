"""How attempts and jobs end: commit, fail, release, cancel, reap; and what is left to erase and forget."""

from dataclasses import replace

from ledger_parts import (
    ARTIFACTS,
    BROKE,
    DIED,
    POOL,
    REFUSED,
    admit,
    audit,
    claimed,
    new_job,
    outage,
    pass_time,
)
from redis import Redis

from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.ids import new_job_id
from farm.jobs.states import State
from farm.ledger import INTAKE_POOL, CancelOutcome, CommitOutcome, FailOutcome, Ledger, Verdict


def states(ledger: Ledger, *job_ids: str) -> list[State | None]:
    return [job and job.state for job in ledger.find_many(job_ids)]


def terminal_events(ledger: Ledger, tenant: str = "acme") -> list[tuple[str, str]]:
    events = ledger.events(tenant, after="0", count=10_000)
    return [(e.job, e.data["state"]) for e in events if e.data["state"] in ("succeeded", "failed", "cancelled")]


class TestCommit:
    def test_once_and_for_ever(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job())
        claimed(ledger)
        assert ledger.commit(job_id, 1, ARTIFACTS, gpu_s=8) is CommitOutcome.COMMITTED
        assert ledger.commit(job_id, 1, replace(ARTIFACTS, size=1), gpu_s=8) is CommitOutcome.ALREADY
        job = ledger.find(job_id)
        assert job is not None
        assert (job.state, job.artifacts, job.progress, job.phase) == (State.SUCCEEDED, ARTIFACTS, 1.0, None)
        assert job.finished_ms is not None
        assert job.lease_until_ms is None
        assert terminal_events(ledger) == [(job_id, "succeeded")]

    def test_a_late_writer_is_fenced(self, ledger: Ledger, redis: Redis) -> None:
        [job_id] = admit(ledger, new_job())
        claimed(ledger, worker="frozen")
        pass_time(redis, 46)
        ledger.reap()
        pass_time(redis, 10)
        assert claimed(ledger, worker="next").attempt == 2
        before = ledger.find(job_id)
        assert ledger.commit(job_id, 1, ARTIFACTS, gpu_s=1) is CommitOutcome.FENCED
        assert ledger.fail(job_id, 1, BROKE)[0] is FailOutcome.FENCED
        assert ledger.release(job_id, 1)[0] is FailOutcome.FENCED
        assert ledger.heartbeat(job_id, 1, phase="denoising", progress=0.9) is Verdict.LOST
        assert ledger.find(job_id) == before
        assert ledger.commit(job_id, 2, ARTIFACTS, gpu_s=1) is CommitOutcome.COMMITTED
        assert ledger.commit(job_id, 1, ARTIFACTS, gpu_s=1) is CommitOutcome.FENCED

    def test_a_lease_that_ran_out_unseen_is_still_a_lease(self, ledger: Ledger, redis: Redis) -> None:
        [job_id] = admit(ledger, new_job())
        claimed(ledger)
        pass_time(redis, 46)
        assert ledger.commit(job_id, 1, ARTIFACTS, gpu_s=1) is CommitOutcome.COMMITTED

    def test_between_two_attempts_nobody_may_write(self, ledger: Ledger, redis: Redis) -> None:
        [job_id] = admit(ledger, new_job())
        claimed(ledger)
        pass_time(redis, 46)
        ledger.reap()
        assert ledger.commit(job_id, 1, ARTIFACTS, gpu_s=1) is CommitOutcome.FENCED

    def test_after_a_cancel_there_is_no_success(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job())
        claimed(ledger)
        assert ledger.cancel("acme", job_id) is CancelOutcome.CANCELLING
        assert ledger.commit(job_id, 1, ARTIFACTS, gpu_s=1) is CommitOutcome.CANCELLED
        assert ledger.commit(job_id, 1, ARTIFACTS, gpu_s=1) is CommitOutcome.CANCELLED
        assert terminal_events(ledger) == [(job_id, "cancelled")]
        assert ledger.find(job_id).artifacts is None  # type: ignore[union-attr]

    def test_a_job_that_nobody_knows(self, ledger: Ledger) -> None:
        assert ledger.commit(new_job_id(), 1, ARTIFACTS, gpu_s=1) is CommitOutcome.FENCED


class TestFail:
    def test_a_retry_waits_twice_as_long_each_time(self, ledger: Ledger, redis: Redis) -> None:
        [job_id] = admit(ledger, new_job(max_attempts=4))
        waits = []
        for attempt in (1, 2, 3):
            claimed(ledger)
            assert ledger.fail(job_id, attempt, BROKE)[0] is FailOutcome.RETRY
            job = ledger.find(job_id)
            assert job is not None
            assert job.state is State.QUEUED
            assert job.not_before_ms is not None
            assert job.queued_ms is not None
            waits.append((job.not_before_ms - job.queued_ms) / 1000)
            assert ledger.claim(POOL, "w1") is None
            assert ledger.position(job) is None
            pass_time(redis, 20)
        assert [2 <= waits[0] <= 2.5, 4 <= waits[1] <= 5, 8 <= waits[2] <= 10] == [True] * 3
        assert claimed(ledger).job.not_before_ms is None

    def test_the_last_attempt_decides(self, ledger: Ledger, redis: Redis) -> None:
        [job_id] = admit(ledger, new_job(max_attempts=2))
        for attempt, outcome in ((1, FailOutcome.RETRY), (2, FailOutcome.FAILED)):
            claimed(ledger)
            assert ledger.fail(job_id, attempt, BROKE)[0] is outcome
            pass_time(redis, 20)
        job = ledger.find(job_id)
        assert job is not None
        assert (job.state, job.error_code, job.error_message) == (State.FAILED, "engine_error", "the pipeline raised")
        assert terminal_events(ledger) == [(job_id, "failed")]

    def test_the_jobs_own_fault_is_not_tried_again(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job())
        claimed(ledger)
        assert ledger.fail(job_id, 1, REFUSED)[0] is FailOutcome.FAILED

    def test_a_job_that_kills_its_workers_is_poisonous_and_says_so(self, ledger: Ledger, redis: Redis) -> None:
        [job_id] = admit(ledger, new_job(max_attempts=10))
        claimed(ledger)
        assert ledger.fail(job_id, 1, DIED)[0] is FailOutcome.RETRY
        pass_time(redis, 20)
        claimed(ledger)
        pass_time(redis, 46)
        ledger.reap()
        job = ledger.find(job_id)
        assert job is not None
        assert (job.state, job.error_code, job.worker_losses) == (State.FAILED, "poisonous", 2)
        assert job.error_message == (
            "took its worker down 2 times; the last time: the worker was lost: no heartbeat came in time"
        )

    def test_repeated_calls_are_harmless(self, ledger: Ledger, redis: Redis) -> None:
        [job_id] = admit(ledger, new_job())
        claimed(ledger)
        ledger.fail(job_id, 1, BROKE)
        before = ledger.find(job_id)
        assert ledger.fail(job_id, 1, BROKE)[0] is FailOutcome.ALREADY
        assert ledger.find(job_id) == before
        pass_time(redis, 20)
        claimed(ledger)
        assert ledger.fail(job_id, 1, BROKE)[0] is FailOutcome.ALREADY
        ledger.commit(job_id, 2, ARTIFACTS, gpu_s=1)
        assert ledger.fail(job_id, 2, BROKE)[0] is FailOutcome.ALREADY

    def test_a_cancelled_attempt_is_a_cancelled_job(self, ledger: Ledger) -> None:
        job_id, other = admit(ledger, new_job(), new_job())
        claimed(ledger)
        ledger.cancel("acme", job_id)
        assert ledger.heartbeat(job_id, 1, phase="denoising", progress=0.5) is Verdict.CANCEL
        assert ledger.fail(job_id, 1, DIED)[0] is FailOutcome.CANCELLED
        claimed(ledger)
        assert ledger.fail(other, 1, JobFault(FaultCode.CANCELLED, "stopped"))[0] is FailOutcome.CANCELLED
        assert states(ledger, job_id, other) == [State.CANCELLED, State.CANCELLED]


class TestRelease:
    def test_handed_back_at_once_and_not_counted(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job(max_attempts=1))
        claimed(ledger)
        assert ledger.release(job_id, 1)[0] is FailOutcome.RETRY
        assert ledger.release(job_id, 1)[0] is FailOutcome.ALREADY
        again = claimed(ledger)
        assert (again.job.id, again.attempt, again.job.attempts_used) == (job_id, 2, 0)

    def test_of_a_job_being_cancelled(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job())
        claimed(ledger)
        ledger.cancel("acme", job_id)
        assert ledger.release(job_id, 1)[0] is FailOutcome.CANCELLED

    def test_of_an_intake(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job(intake=True))
        claimed(ledger, INTAKE_POOL, "io")
        assert ledger.release(job_id, 1)[0] is FailOutcome.RETRY
        assert claimed(ledger, INTAKE_POOL, "io").attempt == 2


class TestCancel:
    def test_queued_or_delayed_is_over_at_once(self, ledger: Ledger) -> None:
        queued, delayed = admit(ledger, new_job(), new_job(priority=9))
        claimed(ledger)
        ledger.fail(delayed, 1, BROKE)
        for job_id in (queued, delayed):
            assert ledger.cancel("acme", job_id) is CancelOutcome.CANCELLED
            assert ledger.cancel("acme", job_id) is CancelOutcome.OVER
        assert ledger.claim(POOL, "w1") is None
        assert sorted(terminal_events(ledger)) == sorted([(queued, "cancelled"), (delayed, "cancelled")])

    def test_a_foreign_or_unknown_job_is_not_found(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job())
        assert ledger.cancel("other", job_id) is CancelOutcome.NOT_FOUND
        assert ledger.cancel("acme", new_job_id()) is CancelOutcome.NOT_FOUND
        assert states(ledger, job_id) == [State.QUEUED]

    def test_a_worker_that_vanishes_while_cancelling(self, ledger: Ledger, redis: Redis) -> None:
        [job_id] = admit(ledger, new_job())
        claimed(ledger)
        ledger.cancel("acme", job_id)
        assert ledger.cancel("acme", job_id) is CancelOutcome.CANCELLING
        pass_time(redis, 46)
        assert ledger.reap().cancelled == 1
        assert states(ledger, job_id) == [State.CANCELLED]


class TestReap:
    def test_a_lost_worker_is_a_retry(self, ledger: Ledger, redis: Redis) -> None:
        [answer], [permit] = ledger.admit([new_job()])
        job_id = answer.id
        claimed(ledger, permit=permit.id)
        pass_time(redis, 46)
        report = ledger.reap()
        assert (report.expired, report.requeued) == (1, 1)
        pass_time(redis, 10)
        report = ledger.reap()
        assert (report.promoted, [permit.pool for permit in report.permits]) == (1, [POOL])
        assert (claimed(ledger).job.id, ledger.reap().expired) == (job_id, 0)

    def test_several_reapers_do_it_once(self, ledger: Ledger, redis: Redis) -> None:
        admit(ledger, new_job())
        claimed(ledger)
        pass_time(redis, 46)
        assert sum(ledger.reap().expired for _ in range(3)) == 1

    def test_limit_bounds_one_call(self, ledger: Ledger, redis: Redis) -> None:
        admit(ledger, *[new_job() for _ in range(5)])
        for _ in range(5):
            claimed(ledger)
        pass_time(redis, 46)
        assert [ledger.reap(limit=2).expired for _ in range(4)] == [2, 2, 1, 0]

    def test_after_an_outage_of_redis_every_attempt_gets_one_more_lease(self, ledger: Ledger, redis: Redis) -> None:
        one, two = admit(ledger, new_job(), new_job())
        claimed(ledger), claimed(ledger)
        ledger.reap()
        outage(redis, 120)
        assert ledger.reap().expired == 0
        assert ledger.heartbeat(one, 1) is Verdict.GO
        outage(redis, 120)
        assert ledger.reap().expired == 1
        assert states(ledger, one, two) == [State.RUNNING, State.QUEUED]

    def test_so_it_is_for_more_attempts_than_one_call_looks_at(self, ledger: Ledger, redis: Redis) -> None:
        """And none is lost before every one has its time."""
        ids = admit(ledger, *[new_job() for _ in range(7)])
        for _ in ids:
            claimed(ledger)
        ledger.reap()
        outage(redis, 120)
        first = [ledger.reap(limit=2) for _ in range(4)]
        assert [(report.expired, report.more) for report in first] == [(0, True)] * 3 + [(0, False)]
        for job_id in ids[:3]:
            assert ledger.heartbeat(job_id, 1) is Verdict.GO
        outage(redis, 120)
        second = [ledger.reap(limit=2) for _ in range(7)]
        # three are given another lease, and four were given theirs before
        assert (sum(report.expired for report in second), second[-1].more) == (4, False)
        assert states(ledger, *ids) == [State.RUNNING] * 3 + [State.QUEUED] * 4
        assert redis.exists("wf:grace") == 0


class TestErase:
    def test_only_the_owner_and_only_when_it_is_over(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job())
        assert ledger.erase("acme", job_id) is False
        claimed(ledger)
        ledger.commit(job_id, 1, ARTIFACTS, gpu_s=1)
        assert ledger.erase("other", job_id) is None
        assert [ledger.erase("acme", job_id) for _ in range(2)] == [True, True]
        job = ledger.find(job_id)
        assert job is not None
        assert (job.state, job.artifacts, job.erased) == (State.SUCCEEDED, None, True)


class TestForget:
    def test_only_what_is_over_and_old(self, ledger: Ledger, redis: Redis) -> None:
        over, running, queued = admit(ledger, new_job(priority=9, label="b"), new_job(priority=8), new_job())
        claimed(ledger), claimed(ledger)
        ledger.commit(over, 1, ARTIFACTS, gpu_s=1)
        job = ledger.find(over)
        assert job is not None
        assert job.finished_ms is not None
        assert ledger.forget(job.finished_ms) == []
        assert ledger.forget(job.finished_ms + 1) == [job]
        redis.zadd("wf:ended", {running: 1, queued: 1})
        assert ledger.forget(2**42) == []
        assert states(ledger, over, running, queued) == [None, State.RUNNING, State.QUEUED]
        assert [key for key in redis.keys("*") if over in key] == []
        assert redis.keys("wf:label:*") == []
        assert audit(ledger) == {}
