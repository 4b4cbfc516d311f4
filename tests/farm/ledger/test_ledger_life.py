"""The life of a job, transition by transition, and the laws as they show in each."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
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
    spec,
)
from redis import Redis

from farm.config import LeaseSettings, Settings
from farm.jobs.errors import Conflict, FaultCode, JobFault, TooMany
from farm.jobs.ids import new_job_id
from farm.jobs.spec import InputRef
from farm.jobs.states import Phase, State
from farm.ledger import INTAKE_POOL, CancelOutcome, CommitOutcome, FailOutcome, Ledger, Verdict


def states(ledger: Ledger, *job_ids: str) -> list[State | None]:
    return [job and job.state for job in ledger.find_many(job_ids)]


def terminal_events(ledger: Ledger, tenant: str = "acme") -> list[tuple[str, str]]:
    events = ledger.events(tenant, after="0", count=10_000)
    return [(e.job, e.data["state"]) for e in events if e.data["state"] in ("succeeded", "failed", "cancelled")]


class TestAdmit:
    def test_a_job_comes_back_as_it_was_admitted(self, ledger: Ledger) -> None:
        wanted = new_job(
            spec=spec(loras=({"path": "x", "scale": 0.5},), options={"empty": {}, "list": []}, prompt="Füchse 🦊"),
            priority=7,
            deadline_ms=1_900_000_000_000,
            dialect="kie",
            dialect_data={"callback": "https://example.org/cb", "raw": {"a": [1, 2.5, None]}},
            name="shot 1",
            metadata={"scene": "4"},
            webhook_url="https://example.org/hook",
            batch="reel: one",
        )
        answers, _ = ledger.admit([wanted])
        assert answers[0].created
        job = ledger.get("acme", wanted.id)
        assert job is not None
        assert job.state is State.QUEUED
        assert (job.attempt, job.attempts_used, job.phase, job.cancelling) == (0, 0, None, False)
        for name in (
            *("id", "tenant", "spec", "pool", "lane", "predicted_s", "wall_s", "priority", "deadline_ms"),
            *("max_attempts", "hold", "dialect", "dialect_data", "name", "metadata", "webhook_url", "batch"),
        ):
            assert getattr(job, name) == getattr(wanted, name), name

    def test_a_job_with_an_input_to_fetch_waits_for_intake(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job(intake=True))
        assert states(ledger, job_id) == [State.WAITING]
        assert ledger.claim(POOL, "w1") is None

    def test_the_same_key_and_body_is_the_same_job(self, ledger: Ledger) -> None:
        first = new_job(idempotency_key="k", body_sha256="b")
        admit(ledger, first)
        answers, permits = ledger.admit([replace(first, id=new_job_id())])
        assert [(a.id, a.created) for a in answers] == [(first.id, False)]
        assert permits == []
        assert sum(ledger.counts("acme").values()) == 1

    def test_the_same_key_twice_within_one_call_is_one_job(self, ledger: Ledger) -> None:
        one, other = new_job(idempotency_key="k", body_sha256="b"), new_job(idempotency_key="k", body_sha256="b")
        answers, _ = ledger.admit([one, other])
        assert [(a.id, a.created) for a in answers] == [(one.id, True), (one.id, False)]

    def test_the_same_key_with_another_body_is_a_conflict_and_nothing_is_admitted(self, ledger: Ledger) -> None:
        admit(ledger, new_job(idempotency_key="k", body_sha256="b"))
        with pytest.raises(Conflict):
            ledger.admit([new_job(), new_job(idempotency_key="k", body_sha256="other")])
        assert ledger.counts("acme")[State.QUEUED] == 1

    def test_keys_belong_to_their_tenant_and_last_a_day(self, ledger: Ledger, redis: Redis) -> None:
        ids = {admit(ledger, new_job(t, idempotency_key="k", body_sha256="b"))[0] for t in ("acme", "other")}
        assert len(ids) == 2
        assert ledger.known_key("acme", "k") == (min(ids), "b")
        assert ledger.known_key("acme", "j") is None
        assert 86_300 < redis.ttl("wf:idem:acme:k") <= 86_400

    def test_a_key_whose_job_was_forgotten_is_free_again(self, ledger: Ledger) -> None:
        first = new_job(idempotency_key="k", body_sha256="b")
        admit(ledger, first)
        ledger.cancel("acme", first.id)
        ledger.forget(2**42)
        assert ledger.known_key("acme", "k") is None
        answers, _ = ledger.admit([replace(first, id=new_job_id())])
        assert answers[0].created
        assert ledger.known_key("acme", "k") == (answers[0].id, "b")

    def test_saying_it_again_after_a_lost_reply_changes_nothing(self, ledger: Ledger) -> None:
        jobs = [new_job(), new_job(idempotency_key="k", body_sha256="b")]
        before, _ = ledger.admit(jobs)
        claimed(ledger)
        assert ledger.admit(jobs)[0] == before
        assert ledger.counts("acme") == dict.fromkeys(State, 0) | {State.QUEUED: 1, State.RUNNING: 1}

    def test_an_id_of_another_tenant_is_not_taken_over(self, ledger: Ledger) -> None:
        job = new_job("other")
        admit(ledger, job)
        with pytest.raises(Conflict):
            ledger.admit([replace(job, tenant="acme")])

    def test_open_jobs_are_limited_and_come_free_again(self, ledger: Ledger, redis: Redis) -> None:
        redis.hset("wf:tenant:acme", "max_open", 2)
        admit(ledger, new_job(intake=True))
        with pytest.raises(TooMany) as refused:
            ledger.admit([new_job(), new_job()])
        assert refused.value.retry_after_s > 0
        [queued] = admit(ledger, new_job())
        ledger.cancel("acme", queued)
        admit(ledger, new_job())

    @pytest.mark.parametrize("wrong", [{"priority": 10}, {"priority": -1}, {"hold": -1}])
    def test_values_that_would_break_the_order_are_refused(self, ledger: Ledger, wrong: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="is"):
            ledger.admit([new_job(**wrong)])


class TestClaim:
    def test_nothing_to_claim(self, ledger: Ledger) -> None:
        assert ledger.claim(POOL, "w1") is None

    def test_a_claim_is_a_lease_under_a_new_attempt(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job())
        claim = claimed(ledger, worker="box-1/gpu0")
        assert (claim.job.id, claim.attempt, claim.lease_ms) == (job_id, 1, 45_000)
        assert (claim.job.state, claim.job.phase, claim.job.worker) == (State.RUNNING, "assigned", "box-1/gpu0")
        assert claim.job.started_ms is not None
        assert claim.job.lease_until_ms == claim.job.started_ms + 45_000
        assert ledger.claim(POOL, "w2") is None

    def test_priority_then_deadline_then_age(self, ledger: Ledger) -> None:
        late, soon = 1_900_000_000_000, 1_800_000_000_000
        # made in an order in which age alone would be wrong everywhere
        last = new_job(priority=0, deadline_ms=1)
        older, newer = new_job(), new_job()
        less_urgent, urgent = new_job(deadline_ms=late), new_job(deadline_ms=soon)
        first = new_job(priority=9)
        admit(ledger, newer, less_urgent, last, older, first, urgent)
        expected = [first, urgent, less_urgent, older, newer, last]
        assert [claimed(ledger).job.id for _ in expected] == [job.id for job in expected]

    def test_a_pool_sees_only_its_own_jobs(self, ledger: Ledger) -> None:
        admit(ledger, new_job(pool="other"))
        assert ledger.claim(POOL, "w1") is None
        assert ledger.claim("other", "w1") is not None

    def test_many_workers_at_once_get_a_job_each(self, ledger: Ledger) -> None:
        made = admit(ledger, *[new_job(tenant) for tenant in ("a", "b") for _ in range(50)])
        with ThreadPoolExecutor(16) as threads:
            claims = list(threads.map(lambda n: ledger.claim(POOL, f"w{n}"), range(120)))
        got = [claim.job.id for claim in claims if claim]
        assert sorted(got) == sorted(made)

    def test_what_does_not_belong_in_a_queue_is_dropped_and_the_claim_goes_on(
        self, ledger: Ledger, redis: Redis
    ) -> None:
        over, good = admit(ledger, new_job(priority=9), new_job())
        claim = claimed(ledger)
        ledger.commit(over, claim.attempt, ARTIFACTS, gpu_s=1)
        redis.zadd(f"wf:queue:{POOL}:acme", {over: 0, new_job_id(): 1})
        assert claimed(ledger).job.id == good
        assert redis.exists(f"wf:queue:{POOL}:acme") == 0

    def test_a_repeated_call_gets_the_same_lease_while_it_is_one(self, ledger: Ledger) -> None:
        admit(ledger, new_job(), new_job())
        first = claimed(ledger, nonce="n")
        assert claimed(ledger, nonce="n") == first
        assert ledger.counts("acme")[State.RUNNING] == 1
        ledger.commit(first.job.id, 1, ARTIFACTS, gpu_s=1)
        assert ledger.claim(POOL, "w1", nonce="n") is None
        assert claimed(ledger, nonce="m") is not None


class TestHeartbeat:
    def test_it_renews_the_lease(self, ledger: Ledger, redis: Redis) -> None:
        admit(ledger, new_job())
        claim = claimed(ledger)
        pass_time(redis, 40)
        assert ledger.heartbeat(claim.job.id, claim.attempt) is Verdict.GO
        pass_time(redis, 40)
        ledger.reap()
        assert states(ledger, claim.job.id) == [State.RUNNING]

    def test_progress_is_recorded_and_told(self, ledger: Ledger) -> None:
        admit(ledger, new_job())
        claim = claimed(ledger)
        ledger.heartbeat(claim.job.id, 1, phase=Phase.DENOISING, progress=0.251, step=10, steps=40)
        job = ledger.find(claim.job.id)
        assert job is not None
        assert (job.phase, job.progress, job.step, job.steps) == ("denoising", 0.251, 10, 40)
        [*_, event] = ledger.events("acme", after="0")
        assert event.data == {
            **{"job": job.id, "state": "running", "attempt": 1, "phase": "denoising"},
            **{"progress": 0.251, "step": 10, "steps": 40},
        }

    def test_the_start_of_a_phase_is_kept_until_the_next(self, ledger: Ledger, redis: Redis) -> None:
        admit(ledger, new_job())
        claim = claimed(ledger)
        ledger.heartbeat(claim.job.id, 1, phase=Phase.DENOISING, progress=0.1)
        redis.hset(f"wf:job:{claim.job.id}", "phase_ms", 1)
        ledger.heartbeat(claim.job.id, 1, phase=Phase.DENOISING, progress=0.2)
        assert ledger.find(claim.job.id).phase_ms == 1  # type: ignore[union-attr]
        ledger.heartbeat(claim.job.id, 1, phase=Phase.DECODING, progress=0.9)
        assert ledger.find(claim.job.id).phase_ms > 1  # type: ignore[union-attr,operator]

    def test_strangers_are_lost(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job())
        assert ledger.heartbeat(job_id, 0) is Verdict.LOST
        claimed(ledger)
        assert ledger.heartbeat(job_id, 2) is Verdict.LOST
        assert ledger.heartbeat(new_job_id(), 1) is Verdict.LOST


class TestIntake:
    def test_waiting_to_queued(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job(intake=True))
        claim = claimed(ledger, INTAKE_POOL, "io")
        assert (claim.job.state, claim.attempt, claim.job.phase) == (State.WAITING, 1, None)
        assert claim.job.lease_until_ms is not None
        stored = {"image": InputRef(sha256="aa", key="inputs/acme/aa", width=640, height=480, size=99)}
        outcome, permits = ledger.intake_done(job_id, 1, stored)
        assert outcome is CommitOutcome.COMMITTED
        assert [permit.pool for permit in permits] == [POOL]
        assert ledger.intake_done(job_id, 1, stored)[0] is CommitOutcome.ALREADY
        assert ledger.intake_done(job_id, 2, stored)[0] is CommitOutcome.FENCED
        render = claimed(ledger)
        assert (render.attempt, render.job.attempts_used) == (2, 0)
        assert render.job.spec == replace(new_job().spec, inputs=stored)

    def test_attempts_of_the_intake_are_not_those_of_the_render(self, ledger: Ledger, redis: Redis) -> None:
        [job_id] = admit(ledger, new_job(intake=True, max_attempts=2))
        claimed(ledger, INTAKE_POOL, "io")
        assert ledger.fail(job_id, 1, JobFault(FaultCode.STORAGE_FAILED, "S3 is away"))[0] is FailOutcome.RETRY
        assert states(ledger, job_id) == [State.WAITING]
        pass_time(redis, 10)
        claimed(ledger, INTAKE_POOL, "io")
        ledger.intake_done(job_id, 2, {})
        claimed(ledger)
        assert ledger.fail(job_id, 3, BROKE)[0] is FailOutcome.RETRY

    def test_a_bad_input_ends_the_job(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job(intake=True))
        claimed(ledger, INTAKE_POOL, "io")
        assert ledger.fail(job_id, 1, REFUSED)[0] is FailOutcome.FAILED
        job = ledger.find(job_id)
        assert job is not None
        assert (job.state, job.error_code) == (State.FAILED, "invalid_input")

    def test_a_lost_intake_is_tried_again_and_not_for_ever(self, ledger: Ledger, redis: Redis) -> None:
        [job_id] = admit(ledger, new_job(intake=True))
        for attempt in (1, 2):
            assert claimed(ledger, INTAKE_POOL, "io").attempt == attempt
            pass_time(redis, 46)
            assert ledger.reap().expired == 1
            pass_time(redis, 20)
        assert states(ledger, job_id) == [State.FAILED]

    def test_a_cancel_is_at_once(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job(intake=True))
        claimed(ledger, INTAKE_POOL, "io")
        assert ledger.cancel("acme", job_id) is CancelOutcome.CANCELLED
        assert ledger.heartbeat(job_id, 1) is Verdict.CANCEL
        assert ledger.intake_done(job_id, 1, {})[0] is CommitOutcome.CANCELLED
        assert ledger.fail(job_id, 1, REFUSED)[0] is FailOutcome.CANCELLED


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
        over, running, queued = admit(ledger, new_job(priority=9, batch="b"), new_job(priority=8), new_job())
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
        assert redis.keys("wf:batch:*") == []
        assert audit(ledger) == {}


def test_a_short_lease_is_a_setting(redis: Redis, ledger_settings: Settings) -> None:
    short = ledger_settings.model_copy(update={"lease": LeaseSettings(seconds=1.5)})
    ledger = Ledger(redis, short)
    admit(ledger, new_job())
    assert claimed(ledger).lease_ms == 1500
