"""Batches in the ledger: whole or not at all, counted, told of seldom."""

from dataclasses import replace

import pytest
from batch_parts import Manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_parts import ARTIFACTS, POOL, REFUSED, admit, audit, claimed, new_job
from redis import Redis

from farm.config import Settings, StorageSettings
from farm.jobs.batch import ActKind, AskedBatch, BatchState
from farm.jobs.errors import Conflict, Forbidden, PaymentRequired, TooLarge, TooMany
from farm.jobs.states import HoldReason, State
from farm.ledger import Account, Ledger


def keys(redis: Redis) -> set[str]:
    """All keys of the ledger but those that only note what once was."""
    passing = ("wf:owners", "wf:statement:", "wf:credit:", "wf:topups:", "wf:audited", "wf:drift", "wf:nothing")
    return {key for key in redis.scan_iter("wf:*") if not key.startswith(passing)}


class TestAdmission:
    def test_all_of_it_is_there_in_the_order_of_its_lines(self, ledger: Ledger) -> None:
        batch = Manifest(8).admit(ledger)
        found = ledger.batch("acme", batch.id)
        assert found is not None
        assert (found.state, found.jobs, found.open, found.counts[State.QUEUED]) == (BatchState.OPEN, 8, 8, 8)
        page = ledger.page("acme", batch=batch.id, oldest_first=True, limit=5)
        assert [job.id for job in page.jobs] == batch.jobs[:5]
        assert [job.spec.prompt for job in page.jobs] == [f"shot {n}" for n in range(5)]
        assert {job.batch for job in page.jobs} == {batch.id}
        assert audit(ledger) == {}

    def test_nobody_sees_it_before_it_is_admitted(self, ledger: Ledger) -> None:
        batch = Manifest(8)
        batch.stage(ledger)
        assert ledger.batch("acme", batch.id) is None
        assert ledger.batch_ids("acme", limit=5) == []
        assert ledger.counts("acme") == dict.fromkeys(State, 0)
        assert ledger.find(batch.jobs[0]) is None
        assert ledger.claim(POOL, "w") is None

    def test_from_then_on_it_is_whole_however_little_is_placed(self, ledger: Ledger) -> None:
        batch = Manifest(8)
        batch.stage(ledger)
        batch.flip(ledger)
        ledger.place_chunk(batch.id)
        found = ledger.batch("acme", batch.id)
        assert found is not None
        assert (found.state, found.open, found.counts[State.QUEUED]) == (BatchState.PLACING, 8, 8)
        # somebody else goes on, and two do no harm
        assert [ledger.place_chunk(batch.id)[0] for _ in range(3)] == [1, 0, 0]
        assert ledger.counts("acme")[State.QUEUED] == 8

    def test_another_tenant_sees_nothing_of_it(self, ledger: Ledger) -> None:
        batch = Manifest(2).admit(ledger)
        assert ledger.batch("rival", batch.id) is None
        assert ledger.batch_ids("rival", limit=5) == []

    def test_a_lost_reply_is_asked_again(self, ledger: Ledger) -> None:
        batch = Manifest(4)
        ledger.topup("acme", 1000)
        batch = Manifest(4, hold=100)
        batch.stage(ledger)
        batch.stage(ledger)
        assert ledger.credit("acme") == Account(1000, 400)
        assert batch.flip(ledger) == batch.flip(ledger) == batch.id

    def test_it_runs_like_other_jobs_and_ends_with_its_last(self, ledger: Ledger) -> None:
        batch = Manifest(2).admit(ledger)
        for _ in range(2):
            claim = ledger.claim(POOL, "w")
            assert claim is not None
            ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=3)
        found = ledger.batch("acme", batch.id)
        assert found is not None
        assert (found.state, found.counts[State.SUCCEEDED], found.gpu_s_over) == (BatchState.ENDED, 2, 20.0)
        assert found.ended_ms is not None


class TestMoney:
    def test_the_whole_price_is_held_at_once_and_settled_job_by_job(self, ledger: Ledger) -> None:
        ledger.topup("acme", 1000)
        batch = Manifest(4, hold=100)
        batch.stage(ledger, most=1)
        assert ledger.credit("acme") == Account(1000, 400)
        batch.admit(ledger)
        assert ledger.credit("acme") == Account(1000, 400)
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=3)
        ledger.cancel("acme", batch.jobs[3])
        assert ledger.credit("acme") == Account(900, 200)
        found = ledger.batch("acme", batch.id)
        assert found is not None
        assert (found.hold, found.held, found.spent) == (400, 200, 100)

    def test_too_little_credit_is_a_refusal_of_all(self, ledger: Ledger, redis: Redis) -> None:
        ledger.topup("acme", 399)
        before = keys(redis)
        with pytest.raises(PaymentRequired, match=r"0\.0004 credits .* 0\.000399 "):
            ledger.begin_batch(Manifest(4, hold=100).new())
        assert keys(redis) == before

    def test_an_unknown_price_is_a_refusal_where_there_is_an_account(self, ledger: Ledger) -> None:
        ledger.topup("acme", 399)
        with pytest.raises(PaymentRequired, match="price"):
            ledger.begin_batch(Manifest(4, hold=None).new())

    def test_an_audit_in_the_middle_finds_every_hold(self, ledger: Ledger) -> None:
        ledger.topup("acme", 10_000)
        admit(ledger, new_job(hold=50))
        batch = Manifest(9, hold=100)
        batch.stage(ledger)
        assert audit(ledger) == {}
        batch.flip(ledger)
        ledger.place_chunk(batch.id)
        assert audit(ledger) == {}
        # an audit that is under way while chunks are placed before and behind its place
        report = ledger.audit("tenant:acme:", limit=2)
        ledger.place_chunk(batch.id)
        while report.cursor is not None:
            report = ledger.audit(report.cursor, limit=2)
            ledger.place_chunk(batch.id)
            assert report.drift == {}
        assert ledger.credit("acme") == Account(10_000, 950)


class TestLimits:
    def test_the_open_job_limit_counts_what_is_to_come(self, ledger: Ledger, redis: Redis) -> None:
        redis.hset("wf:tenant:acme", "max_open", 6)
        batch = Manifest(4)
        batch.stage(ledger)
        with pytest.raises(TooMany):
            ledger.begin_batch(Manifest(3, name="batch_" + "1" * 32).new())
        with pytest.raises(TooMany):
            admit(ledger, new_job(), new_job(), new_job())
        batch.admit(ledger)
        admit(ledger, new_job(), new_job())

    def test_what_would_never_fit_is_not_to_be_tried_again(self, ledger: Ledger, redis: Redis) -> None:
        redis.hset("wf:tenant:acme", "max_open", 6)
        with pytest.raises(TooLarge, match="7 jobs are more than the 6"):
            ledger.begin_batch(Manifest(7).new())

    def test_a_tenant_whose_files_take_all_room_begins_none(self, ledger: Ledger, redis: Redis) -> None:
        known = Manifest(2)
        ledger.begin_batch(replace(known.new(), idempotency_key="k"))
        most = StorageSettings().max_bytes_per_tenant
        redis.hset("wf:stored", "acme", most + 1)
        other = Manifest(2, name="batch_" + "1" * 32).new()
        with pytest.raises(Forbidden, match=f"{most + 1} bytes of the {most}"):
            ledger.begin_batch(other)
        # said again
        assert ledger.begin_batch(replace(known.new(), idempotency_key="k")) == known.id
        redis.hset("wf:stored", "acme", most)
        assert ledger.begin_batch(other) == other.id

    def test_an_idempotency_key_names_one_batch(self, ledger: Ledger) -> None:
        first, second = Manifest(2), Manifest(2, name="batch_" + "1" * 32)
        for one in (first, second):
            # both at once
            assert ledger.begin_batch(one.new(key="k")) == one.id
            for number, chunk in enumerate(one.chunks, 1):
                ledger.stage_chunk(one.id, number, chunk)
        assert first.flip(ledger) == first.id
        assert second.flip(ledger) == first.id
        assert ledger.drop_batch(second.id)
        third = Manifest(2, name="batch_" + "2" * 32)
        assert ledger.begin_batch(third.new(key="k")) == first.id
        with pytest.raises(Conflict):
            ledger.begin_batch(third.new(key="k", sha="other"))

    def test_another_request_with_the_same_key_at_once_is_refused(self, ledger: Ledger) -> None:
        first, second = Manifest(2), Manifest(2, name="batch_" + "1" * 32)
        for one, sha in ((first, "sha"), (second, "other")):
            assert ledger.begin_batch(one.new(key="k", sha=sha)) == one.id
            for number, chunk in enumerate(one.chunks, 1):
                ledger.stage_chunk(one.id, number, chunk)
        assert first.flip(ledger) == first.id
        with pytest.raises(Conflict, match="another request"):
            second.flip(ledger)


class TestAskedForByAFile:
    def asked(self, ledger: Ledger, batch: Manifest) -> AskedBatch:
        asked = AskedBatch(batch.id, batch.tenant, "file-1", "/v1/videos", "24h", 1000, 87400)
        assert ledger.ask_batch(asked) == asked.id
        return asked

    def test_a_cancel_that_comes_before_its_admission_leaves_nothing(self, ledger: Ledger) -> None:
        batch = Manifest(2)
        cancelled = replace(self.asked(ledger, batch), answer="cancelled")
        batch.stage(ledger)
        assert ledger.answer_batch(cancelled)
        with pytest.raises(Conflict):
            batch.flip(ledger)
        assert ledger.batch(batch.tenant, batch.id) is None

    def test_after_its_admission_nothing_but_its_jobs_can_be_cancelled(self, ledger: Ledger) -> None:
        batch = Manifest(2)
        cancelled = replace(self.asked(ledger, batch), answer="cancelled")
        batch.admit(ledger)
        assert not ledger.answer_batch(cancelled)
        assert ledger.batches_asked() == []
        assert ledger.asked([batch.id])[0] is not None

    def test_what_was_asked_is_kept_as_long_as_the_batch(self, ledger: Ledger, redis: Redis) -> None:
        batch = Manifest(1)
        self.asked(ledger, batch)
        kept_s = redis.ttl(f"wf:batch-asked:{batch.id}")
        assert kept_s > Settings().scheduling.retention_s
        batch.admit(ledger)
        assert redis.ttl(f"wf:batch-asked:{batch.id}") == -1
        ledger.cancel(batch.tenant, batch.jobs[0])
        ledger.forget(2**50, 2)
        assert ledger.asked([batch.id]) == [None]


class TestItsSums:
    @pytest.mark.parametrize("limit", [1, 100])
    @pytest.mark.parametrize(
        ("name", "value"), [("held", 7), ("spent", 7), ("gpu_ms_over", 7), ("state", "ended"), (None, None)]
    )
    def test_an_audit_mends_its_sums_and_its_state(
        self, name: str | None, value: int | str, limit: int, ledger: Ledger, redis: Redis
    ) -> None:
        ledger.topup("acme", 1000)
        other = Manifest(2, name="batch_" + "1" * 32, hold=10).admit(ledger)
        batch = Manifest(5, hold=100).admit(ledger)
        for job in (*other.jobs, *batch.jobs[:2]):
            claim = ledger.claim(POOL, "w")
            assert claim is not None
            assert claim.job.id == job
            ledger.commit(job, claim.attempt, ARTIFACTS, gpu_s=1)
        before = ledger.batches("acme", [batch.id, other.id])
        if name is None:
            redis.zadd(f"wf:batch-jobs:{batch.id}:queued", {other.jobs[1]: 0})
        else:
            redis.hset(f"wf:batch:{batch.id}", name, value)
        assert audit(ledger, limit) == {"index" if name is None else "batch": 1}
        assert audit(ledger, limit) == {}
        assert ledger.batches("acme", [batch.id, other.id]) == before

    def test_an_audit_of_its_sums_is_exact_while_its_jobs_end(self, ledger: Ledger) -> None:
        ledger.topup("acme", 10_000)
        batch = Manifest(40, hold=100).admit(ledger)
        cursor, steps = "batches:acme:", 0
        while cursor.startswith("batches:"):
            report = ledger.audit(cursor, 3)
            assert report.drift == {}
            cursor, steps = report.cursor or "", steps + 1
            claim = ledger.claim(POOL, "w")
            assert claim is not None
            ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=1)
            newest = ledger.ids("acme", states=[State.QUEUED], batch=batch.id, limit=1)
            ledger.cancel("acme", newest[0])
        assert steps > 10
        found = ledger.batch("acme", batch.id)
        assert found is not None
        assert (found.spent, found.held) == (100 * steps, 100 * (40 - 2 * steps))
        assert audit(ledger) == {}


class TestGivenUp:
    def test_a_staging_that_was_left_leaves_nothing(self, ledger: Ledger, redis: Redis) -> None:
        ledger.topup("acme", 1000)
        before = keys(redis)
        batch = Manifest(8, hold=100)
        batch.stage(ledger, most=2)
        assert not ledger.drop_batch(batch.id, untouched_s=60)
        assert [one[:2] for one in ledger.batches_coming()] == [(batch.id, BatchState.STAGING)]
        assert ledger.drop_batch(batch.id)
        assert keys(redis) == before
        assert ledger.credit("acme") == Account(1000, 0)
        # who was slow learns it
        assert not ledger.stage_chunk(batch.id, 3, batch.chunks[2])
        with pytest.raises(Conflict):
            batch.flip(ledger)

    def test_what_is_admitted_is_not_dropped(self, ledger: Ledger) -> None:
        batch = Manifest(2)
        batch.stage(ledger)
        batch.flip(ledger)
        assert not ledger.drop_batch(batch.id)

    def test_it_is_forgotten_with_its_last_job(self, ledger: Ledger, redis: Redis) -> None:
        before = keys(redis)
        batch = Manifest(3, held=HoldReason.APPROVAL).admit(ledger)
        for job_id in batch.jobs:
            ledger.cancel("acme", job_id)
        ledger.forget(2**50, 2)
        assert ledger.batch("acme", batch.id) is not None
        ledger.forget(2**50, 2)
        assert ledger.batch("acme", batch.id) is None
        left = keys(redis) - before
        assert left <= {"wf:events:acme", "wf:pools", "wf:permit-seq", "wf:batches-untold"}, left

    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(st.integers(1, 9), st.integers(0, 8), st.integers(1, 4))
    def test_a_crash_at_any_point_leaves_all_of_it_or_nothing(
        self, ledger: Ledger, redis: Redis, jobs: int, steps: int, per_chunk: int
    ) -> None:
        redis.flushdb()
        ledger.topup("acme", 1000)
        batch = Manifest(jobs, hold=100, per_chunk=per_chunk)
        moves = [
            lambda: ledger.begin_batch(batch.new()),
            *(
                lambda n=n, chunk=chunk: ledger.stage_chunk(batch.id, n, chunk)  # type: ignore[misc]
                for n, chunk in enumerate(batch.chunks, 1)
            ),
            lambda: batch.flip(ledger),
            *(lambda: ledger.place_chunk(batch.id) for _ in batch.chunks),
        ]
        for move in moves[:steps]:
            move()
        # what housekeeping does of a batch that nobody works on
        for batch_id, state, _ in ledger.batches_coming():
            if state is BatchState.STAGING:
                ledger.drop_batch(batch_id)
            else:
                batch.place(ledger)
        admitted = steps > 1 + len(batch.chunks)
        assert ledger.counts("acme")[State.QUEUED] == (jobs if admitted else 0)
        assert ledger.credit("acme") == Account(1000, 100 * jobs if admitted else 0)
        assert (ledger.batch("acme", batch.id) is not None) is admitted
        assert not {key for key in keys(redis) if "chunk" in key or "coming" in key or "reserved" in key}
        assert audit(ledger) == {}


class TestEvents:
    def test_its_tenant_hears_of_the_batch_and_not_of_each_job(self, ledger: Ledger) -> None:
        batch = Manifest(20).admit(ledger)
        for job_id in batch.jobs:
            ledger.cancel("acme", job_id)
        told = ledger.events("acme", after="0")
        assert all(event.job == "" and event.data["batch"] == batch.id for event in told)
        assert len(told) <= 4
        assert told[-1].data["state"] == BatchState.ENDED
        assert told[-1].data["counts"][State.CANCELLED] == 20
        # whoever follows one job reads the batch's own stream
        assert len(ledger.events(f"acme!{batch.id}", after="0", job_id=batch.jobs[7])) == 1

    def test_what_was_not_told_in_time_a_reap_tells(self, ledger: Ledger) -> None:
        batch = Manifest(3).admit(ledger)
        ledger.cancel("acme", batch.jobs[0])
        ledger.reap()
        assert ledger.events("acme", after="0")[-1].data["counts"][State.CANCELLED] == 1


class TestDependencies:
    def test_a_child_waits_for_its_parents(self, ledger: Ledger) -> None:
        batch = Manifest(3, parents={0: [1, 2]}).admit(ledger)
        child = ledger.find(batch.jobs[0])
        assert child is not None
        assert child.held_for == (HoldReason.DEPENDENCY,)
        for expected in (batch.jobs[1], batch.jobs[2], batch.jobs[0]):
            claim = ledger.claim(POOL, "w")
            assert claim is not None
            assert claim.job.id == expected
            ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=3)
        assert audit(ledger) == {}

    def test_a_failed_parent_fails_all_that_follow(self, ledger: Ledger) -> None:
        ledger.topup("acme", 1000)
        batch = Manifest(5, hold=10, parents={1: [0], 2: [1], 3: [2], 4: [3]}).admit(ledger)
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        ledger.fail(claim.job.id, claim.attempt, REFUSED)
        jobs = [job for job in ledger.find_many(batch.jobs) if job]
        assert [job.state for job in jobs] == [State.FAILED] * 5
        assert [job.error_code for job in jobs] == ["invalid_input"] + ["dependency_failed"] * 4
        assert ledger.credit("acme") == Account(1000, 0)

    def test_what_an_open_child_follows_is_not_forgotten(self, ledger: Ledger) -> None:
        batch = Manifest(3, parents={2: [0, 1]}).admit(ledger)
        (alone,) = admit(ledger, new_job())
        claims = [claimed(ledger), claimed(ledger)]
        ledger.commit(claims[0].job.id, claims[0].attempt, ARTIFACTS, gpu_s=3)
        ledger.cancel("acme", alone)
        # one job at a time: those that stay hide none behind them
        assert [job.id for job in ledger.forget(2**50, 1)] == [alone]
        assert ledger.forget(2**50, 1) == []
        ledger.commit(claims[1].job.id, claims[1].attempt, ARTIFACTS, gpu_s=3)
        last = claimed(ledger)
        assert (last.job.id, last.job.parents) == (batch.jobs[2], tuple(batch.jobs[:2]))
        assert ledger.forget(2**50) == []
        ledger.commit(last.job.id, last.attempt, ARTIFACTS, gpu_s=3)
        assert sorted(job.id for job in ledger.forget(2**50)) == sorted(batch.jobs)
        assert ledger.batch("acme", batch.id) is None

    def test_a_parent_that_was_made_anew_is_found_as_long_as_a_child_is_open(self, ledger: Ledger) -> None:
        batch = Manifest(3, parents={2: [0, 1]}).admit(ledger)
        failed, other = claimed(ledger), claimed(ledger)
        ledger.fail(failed.job.id, failed.attempt, REFUSED)
        assert ledger.begin_act("retry", "acme", batch.id, ActKind.RETRY)
        while ledger.step_act("retry")[0]:
            pass
        anew = claimed(ledger)
        ledger.commit(anew.job.id, anew.attempt, ARTIFACTS, gpu_s=3)
        # not the records that say which job stands for which
        assert ledger.forget(2**50) == []
        ledger.commit(other.job.id, other.attempt, ARTIFACTS, gpu_s=3)
        assert claimed(ledger).job.parents == tuple(batch.jobs[:2])

    def test_or_frees_them_as_the_manifest_says(self, ledger: Ledger) -> None:
        batch = Manifest(2, parents={1: [0]}, orphans_run=True).admit(ledger)
        ledger.cancel("acme", batch.jobs[0])
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        assert claim.job.id == batch.jobs[1]

    def test_more_children_than_one_call_looks_at(self, ledger: Ledger) -> None:
        batch = Manifest(60, per_chunk=20, parents={n: [0] for n in range(1, 60)}).admit(ledger)
        ledger.cancel("acme", batch.jobs[0])
        ledger.reap()
        found = ledger.batch("acme", batch.id)
        assert found is not None
        assert 0 < found.counts[State.FAILED] < 59
        while ledger.see_to_children():
            pass
        found = ledger.batch("acme", batch.id)
        assert found is not None
        assert (found.state, found.counts[State.FAILED]) == (BatchState.ENDED, 59)

    def test_an_audit_mends_a_list_of_children_that_was_lost(self, ledger: Ledger, redis: Redis) -> None:
        batch = Manifest(3, parents={1: [0], 2: [0]}).admit(ledger)
        redis.delete(f"wf:children:{batch.jobs[0]}")
        assert audit(ledger) == {"children": 2}
        ledger.cancel("acme", batch.jobs[0])
        redis.delete("wf:parents-over", f"wf:children:{batch.jobs[0]}")
        audit(ledger)
        assert [job.state for job in ledger.find_many(batch.jobs) if job] == [
            State.CANCELLED,
            State.FAILED,
            State.FAILED,
        ]

    def test_an_audit_frees_a_child_whose_parents_are_all_over(self, ledger: Ledger, redis: Redis) -> None:
        batch = Manifest(2, parents={1: [0]}).admit(ledger)
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        redis.delete(f"wf:children:{batch.jobs[0]}")
        ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=3)
        assert ledger.claim(POOL, "w") is None
        assert audit(ledger)["children"] == 1
        child = ledger.claim(POOL, "w")
        assert child is not None
        assert child.job.id == batch.jobs[1]
        assert audit(ledger) == {}
