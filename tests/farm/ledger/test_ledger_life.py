"""The life of a job until its attempt ends: admit, claim, heartbeat, intake."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import pytest
from ledger_parts import (
    ARTIFACTS,
    BROKE,
    POOL,
    REFUSED,
    admit,
    claimed,
    new_job,
    pass_time,
    spec,
)
from redis import Redis

from farm.config import LeaseSettings, Settings, StorageSettings
from farm.jobs.errors import Conflict, FaultCode, Forbidden, JobFault, TooMany
from farm.jobs.ids import new_job_id
from farm.jobs.spec import InputRef
from farm.jobs.states import Phase, State
from farm.ledger import INTAKE_POOL, CancelOutcome, CommitOutcome, FailOutcome, Ledger, Verdict


def states(ledger: Ledger, *job_ids: str) -> list[State | None]:
    return [job and job.state for job in ledger.find_many(job_ids)]


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
            label="reel: one",
        )
        answers, _ = ledger.admit([wanted])
        assert answers[0].created
        job = ledger.get("acme", wanted.id)
        assert job is not None
        assert job.state is State.QUEUED
        assert (job.attempt, job.attempts_used, job.phase, job.cancelling) == (0, 0, None, False)
        for name in (
            *("id", "tenant", "spec", "pool", "lane", "predicted_s", "wall_s", "priority", "deadline_ms"),
            *("max_attempts", "hold", "dialect", "dialect_data", "name", "metadata", "webhook_url", "label"),
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

    def test_a_tenant_whose_files_take_all_room_admits_nothing_new(self, ledger: Ledger, redis: Redis) -> None:
        known = new_job(idempotency_key="k", body_sha256="s")
        admit(ledger, known)
        most = StorageSettings().max_bytes_per_tenant
        redis.hset("wf:stored", "acme", most)
        admit(ledger, new_job())
        for until, fits in ((time.time() - 60, True), (time.time() + 3600, False)):
            redis.hset("wf:rooms-by-minute:acme", int(until // 60), 1)
            with nullcontext() if fits else pytest.raises(Forbidden, match=f"{most + 1} bytes of the {most}"):
                admit(ledger, new_job())
        assert admit(ledger, new_job(tenant="other"))
        assert admit(ledger, known) == [known.id]  # said again

    def test_the_same_key_twice_within_one_call_is_one_job(self, ledger: Ledger) -> None:
        one, other = new_job(idempotency_key="k", body_sha256="b"), new_job(idempotency_key="k", body_sha256="b")
        answers, _ = ledger.admit([one, other])
        assert [(a.id, a.created) for a in answers] == [(one.id, True), (one.id, False)]

    def test_the_same_key_with_another_body_is_a_conflict_and_nothing_is_admitted(self, ledger: Ledger) -> None:
        admit(ledger, new_job(idempotency_key="k", body_sha256="b"))
        with pytest.raises(Conflict, match="send that one again, or a new key"):
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
        # the year 9999 is as good as none
        far = new_job(deadline_ms=253_402_300_799_000)
        older, newer = new_job(), new_job()
        less_urgent, urgent = new_job(deadline_ms=late), new_job(deadline_ms=soon)
        first = new_job(priority=9)
        admit(ledger, newer, less_urgent, last, older, first, urgent, far)
        expected = [first, urgent, less_urgent, far, older, newer, last]
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
        first = claimed(ledger, nonce="n", heard=False)
        assert claimed(ledger, nonce="n", heard=False) == first
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


def test_a_short_lease_is_a_setting(redis: Redis, ledger_settings: Settings) -> None:
    short = ledger_settings.model_copy(update={"lease": LeaseSettings(seconds=1.5)})
    ledger = Ledger(redis, short)
    admit(ledger, new_job())
    assert claimed(ledger).lease_ms == 1500
