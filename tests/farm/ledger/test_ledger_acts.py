"""Acts on many jobs of a batch: step by step, to an end, whoever does the steps."""

import math
import time
from collections.abc import Sequence

import pytest
from batch_parts import Manifest
from ledger_parts import ARTIFACTS, POOL, REFUSED, audit, claimed, commands, pass_time
from redis import Redis

from farm.config import StorageSettings
from farm.jobs.batch import ActKind, BatchState, Choice
from farm.jobs.errors import TooMany
from farm.jobs.job import Job
from farm.jobs.states import HoldReason, State, Tier
from farm.ledger import Account, Ledger
from farm.ledger.acts import STEP
from farm.ledger.scripts import ACTS_KEPT

JOBS = 130


def done(
    ledger: Ledger,
    batch: Manifest,
    kind: ActKind,
    choice: Choice | None = None,
    *,
    open_after: Sequence[str] = (),
    **more: int,
) -> int:
    """Jobs that an act changed, done to its end."""
    name = f"act-{kind}-{len(ledger.acts([batch.id])[0])}"
    assert ledger.begin_act(name, "acme", batch.id, kind, choice, **more)
    while ledger.step_act(name)[0]:
        pass
    act = ledger.acts([batch.id])[0][0]
    assert act.over
    assert ledger.acts_open() == list(open_after)
    return act.changed


def failed(ledger: Ledger) -> str:
    """The id of the first job in line, which fails."""
    claim = claimed(ledger)
    ledger.fail(claim.job.id, claim.attempt, REFUSED)
    return claim.job.id


def made_anew(ledger: Ledger, job_id: str) -> Job:
    old = ledger.find(job_id)
    assert old is not None
    new = ledger.find(old.retried_as or "")
    assert new is not None
    return new


def states(ledger: Ledger, batch: Manifest) -> dict[State, int]:
    found = ledger.batch("acme", batch.id)
    assert found is not None
    return {state: count for state, count in found.counts.items() if count}


class TestActs:
    def test_cancel_ends_what_waits_and_stops_what_runs(self, ledger: Ledger) -> None:
        batch = Manifest(JOBS, per_chunk=100).admit(ledger)
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        assert done(ledger, batch, ActKind.CANCEL) == JOBS
        assert states(ledger, batch) == {State.CANCELLED: JOBS - 1, State.RUNNING: 1}
        ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=1)
        assert states(ledger, batch) == {State.CANCELLED: JOBS}
        assert audit(ledger, 100) == {}

    def test_pause_and_resume(self, ledger: Ledger) -> None:
        batch = Manifest(JOBS, per_chunk=100).admit(ledger)
        assert done(ledger, batch, ActKind.PAUSE) == JOBS
        assert ledger.claim(POOL, "w") is None
        assert ledger.held_counts("acme")[HoldReason.PAUSED] == JOBS
        assert done(ledger, batch, ActKind.PAUSE) == 0
        assert done(ledger, batch, ActKind.RESUME) == JOBS
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        assert claim.job.id == batch.jobs[0]
        assert audit(ledger, 100) == {}

    @pytest.mark.parametrize("asked", [("first", "last"), ("last", "first"), ("last",), ("first", "last", "last")])
    def test_acts_are_done_in_their_order_whoever_works_on_what(self, ledger: Ledger, asked: tuple[str, ...]) -> None:
        batch = Manifest(JOBS, per_chunk=100).admit(ledger)
        ledger.begin_act("first", "acme", batch.id, ActKind.PAUSE)
        # ends, and those behind it wait for the first still
        ledger.begin_act("undone", "acme", batch.id, ActKind.PRIORITY, priority=7)
        ledger.begin_act("priority", "acme", batch.id, ActKind.PRIORITY, priority=8)
        # of other jobs, as far as the ledger knows
        ledger.begin_act("last", "acme", batch.id, ActKind.RESUME, Choice(state=State.QUEUED))
        for _ in range(40):
            for name in asked:
                ledger.step_act(name)
        assert ledger.acts_open() == []
        acts = ledger.acts([batch.id])[0]
        assert [(act.over, act.changed) for act in acts] == [(True, JOBS), (True, JOBS), (True, 0), (True, JOBS)]
        assert ledger.held_counts("acme")[HoldReason.PAUSED] == 0
        assert audit(ledger, 100) == {}

    def test_acts_on_two_batches_do_not_wait_for_each_other(self, ledger: Ledger) -> None:
        first = Manifest(JOBS, per_chunk=100).admit(ledger)
        second = Manifest(3, name="batch_" + "1" * 32).admit(ledger)
        ledger.begin_act("long", "acme", first.id, ActKind.PAUSE)
        assert done(ledger, second, ActKind.CANCEL, open_after=["long"]) == 3

    @pytest.mark.parametrize("cancelled", [False, True])
    def test_the_last_word_counts_while_an_earlier_one_is_under_way(self, ledger: Ledger, cancelled: bool) -> None:
        batch = Manifest(JOBS, per_chunk=100).admit(ledger)
        ledger.begin_act("first", "acme", batch.id, ActKind.PAUSE)
        ledger.step_act("first")
        assert ledger.held_counts("acme")[HoldReason.PAUSED] == STEP
        done(ledger, batch, ActKind.CANCEL if cancelled else ActKind.RESUME)
        assert not ledger.step_act("first")[0]
        assert ledger.held_counts("acme")[HoldReason.PAUSED] == 0
        assert ledger.acts([batch.id])[0][-1].error == "undone"
        assert states(ledger, batch) == {State.CANCELLED if cancelled else State.QUEUED: JOBS}
        assert audit(ledger, 100) == {}

    def test_the_last_word_counts_however_many_acts_came_between(self, ledger: Ledger) -> None:
        batch = Manifest(JOBS, per_chunk=100).admit(ledger)
        ledger.begin_act("pause", "acme", batch.id, ActKind.PAUSE)
        # each ends the one before
        for number in range(ACTS_KEPT - 2):
            ledger.begin_act(f"{number}", "acme", batch.id, ActKind.PRIORITY, priority=number % 10)
        # a step of the pause, which is still the first
        ledger.step_act(f"{ACTS_KEPT - 3}")
        assert ledger.held_counts("acme")[HoldReason.PAUSED] == STEP
        ledger.begin_act("resume", "acme", batch.id, ActKind.RESUME)
        assert set(ledger.acts_open()) == {f"{ACTS_KEPT - 3}", "resume"}
        while ledger.step_act("resume")[0]:
            pass
        assert ledger.held_counts("acme")[HoldReason.PAUSED] == 0

    def test_one_of_other_jobs_goes_on(self, ledger: Ledger) -> None:
        batch = Manifest(JOBS, per_chunk=100).admit(ledger)
        ledger.begin_act("first", "acme", batch.id, ActKind.PAUSE)
        ledger.begin_act("second", "acme", batch.id, ActKind.RESUME, Choice(label="none"))
        assert set(ledger.acts_open()) == {"first", "second"}

    def test_approval(self, ledger: Ledger) -> None:
        batch = Manifest(5, held=HoldReason.APPROVAL).admit(ledger)
        assert ledger.claim(POOL, "w") is None
        assert done(ledger, batch, ActKind.APPROVE) == 5
        assert ledger.claim(POOL, "w") is not None

    def test_priority(self, ledger: Ledger) -> None:
        first = Manifest(3).admit(ledger)
        second = Manifest(3, name="batch_" + "1" * 32).admit(ledger)
        assert done(ledger, second, ActKind.PRIORITY, priority=7) == 3
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        assert claim.job.id == second.jobs[0]
        assert claim.job.id not in first.jobs
        assert audit(ledger) == {}

    def test_retry_makes_what_failed_anew_and_keeps_what_ended(self, ledger: Ledger) -> None:
        ledger.topup("acme", 1000)
        batch = Manifest(4, hold=100, parents={1: [0], 2: [1]}).admit(ledger)
        for ending in ("fail", "commit"):
            claim = ledger.claim(POOL, "w")
            assert claim is not None
            if ending == "fail":
                ledger.fail(claim.job.id, claim.attempt, REFUSED)
            else:
                ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=1)
        assert states(ledger, batch) == {State.FAILED: 3, State.SUCCEEDED: 1}
        assert done(ledger, batch, ActKind.RETRY) == 3
        assert states(ledger, batch) == {State.QUEUED: 3, State.SUCCEEDED: 1}
        assert ledger.credit("acme") == Account(900, 300)
        old = ledger.find(batch.jobs[0])
        assert old is not None
        assert (old.state, old.batch) == (State.FAILED, None)
        assert audit(ledger) == {}
        # in the order of the chain, as new jobs
        for _ in range(3):
            claim = ledger.claim(POOL, "w")
            assert claim is not None
            assert claim.job.id not in batch.jobs
            ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=1)
        found = ledger.batch("acme", batch.id)
        assert found is not None
        assert (found.state, found.counts[State.SUCCEEDED], found.spent) == (BatchState.ENDED, 4, 400)
        assert ledger.credit("acme") == Account(600, 0)

    def test_a_retry_without_credit_says_so_and_ends(self, ledger: Ledger) -> None:
        ledger.topup("acme", 300)
        batch = Manifest(2, hold=100).admit(ledger)
        for _ in range(2):
            claim = ledger.claim(POOL, "w")
            assert claim is not None
            ledger.fail(claim.job.id, claim.attempt, REFUSED)
        ledger.topup("acme", -150)
        assert done(ledger, batch, ActKind.RETRY) == 1
        assert ledger.acts([batch.id])[0][0].error == "payment"

    def test_a_retry_at_a_price_that_nobody_knows_is_refused(self, ledger: Ledger) -> None:
        batch = Manifest(1, hold=None).admit(ledger)
        failed(ledger)
        # its owner pays from now on
        ledger.topup("acme", 1000)
        assert done(ledger, batch, ActKind.RETRY) == 0
        assert ledger.acts([batch.id])[0][0].error == "unpriced"
        assert states(ledger, batch) == {State.FAILED: 1}

    def test_a_retry_keeps_the_tier_and_the_window_while_that_is_open(self, ledger: Ledger, redis: Redis) -> None:
        window_ms = int((time.time() + 86_400) * 1000)
        batch = Manifest(2, tier=Tier.ECONOMY, deadline_ms=window_ms, per_chunk=9).admit(ledger)
        first, second = failed(ledger), failed(ledger)
        assert done(ledger, batch, ActKind.RETRY, Choice(state=State.FAILED)) == 2
        for old in (first, second):
            new = made_anew(ledger, old)
            assert (new.tier, new.deadline_ms) == (Tier.ECONOMY, window_ms)
        assert audit(ledger) == {}
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        ledger.fail(claim.job.id, claim.attempt, REFUSED)
        pass_time(redis, 86_401)
        ledger.reap()
        # the one that had not started is over, and the one that failed is its owner's to pay for as any other
        assert states(ledger, batch) == {State.FAILED: 1, State.CANCELLED: 1}
        assert done(ledger, batch, ActKind.RETRY) == 1
        anew = made_anew(ledger, claim.job.id)
        assert (anew.tier, anew.deadline_ms) == (Tier.NORMAL, None)

    def test_a_retry_keeps_deadline_and_start_by_time_and_not_what_an_operator_granted(self, ledger: Ledger) -> None:
        deadline_ms, start_by_ms = (int((time.time() + seconds) * 1000) for seconds in (500, 900))
        batch = Manifest(1, deadline_ms=deadline_ms, start_by_ms=start_by_ms).admit(ledger)
        ledger.set_tier(batch.jobs[0], Tier.URGENT, who="key k1", why="the client is in the house")
        old = failed(ledger)
        assert done(ledger, batch, ActKind.RETRY) == 1
        new = made_anew(ledger, old)
        assert (new.tier, new.deadline_ms, new.start_by_ms) == (Tier.NORMAL, deadline_ms, start_by_ms)

    def test_a_retry_stops_at_the_limit_of_open_jobs(self, ledger: Ledger, redis: Redis) -> None:
        batch = Manifest(3).admit(ledger)
        for _ in range(3):
            claim = ledger.claim(POOL, "w")
            assert claim is not None
            ledger.fail(claim.job.id, claim.attempt, REFUSED)
        redis.hset("wf:tenant:acme", "max_open", 2)
        assert done(ledger, batch, ActKind.RETRY) == 2
        assert ledger.acts([batch.id])[0][0].error == "too_many"
        assert states(ledger, batch) == {State.QUEUED: 2, State.FAILED: 1}
        # once there is room it goes on with what is left
        redis.hset("wf:tenant:acme", "max_open", 3)
        assert done(ledger, batch, ActKind.RETRY) == 1
        assert audit(ledger) == {}

    def test_a_retry_stops_where_files_take_all_room(self, ledger: Ledger, redis: Redis) -> None:
        batch = Manifest(1).admit(ledger)
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        ledger.fail(claim.job.id, claim.attempt, REFUSED)
        redis.hset("wf:stored", "acme", StorageSettings().max_bytes_per_tenant + 1)
        assert done(ledger, batch, ActKind.RETRY) == 0
        assert ledger.acts([batch.id])[0][0].error == "no_room"
        redis.hdel("wf:stored", "acme")
        assert done(ledger, batch, ActKind.RETRY) == 1
        assert audit(ledger) == {}

    def test_a_retry_of_children_before_their_parents_in_many_steps(self, ledger: Ledger, redis: Redis) -> None:
        batch = Manifest(JOBS, per_chunk=100, parents={n: [n + 1] for n in range(JOBS - 1)}).admit(ledger)
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        ledger.fail(claim.job.id, claim.attempt, REFUSED)
        while states(ledger, batch) != {State.FAILED: JOBS}:
            ledger.reap()
        # of each job it looks at the new one and the parent, too; the act ends before it comes to the last parents
        redis.hset("wf:tenant:acme", "max_open", 90)
        ledger.begin_act("stopped", "acme", batch.id, ActKind.RETRY)
        ledger.step_act("stopped")
        first = math.ceil(STEP / 3)
        assert states(ledger, batch) == {State.FAILED: JOBS - first, State.QUEUED: first}
        assert audit(ledger, 100) == {}
        while ledger.step_act("stopped")[0]:
            pass
        assert ledger.acts([batch.id])[0][0].error == "too_many"
        # a chain ends some links at a time
        while states(ledger, batch) != {State.FAILED: JOBS}:
            ledger.reap()
        found = ledger.batch("acme", batch.id)
        assert found is not None
        assert found.state is BatchState.ENDED
        assert audit(ledger, 100) == {}
        # and with room it makes all of them anew
        redis.hdel("wf:tenant:acme", "max_open")
        assert done(ledger, batch, ActKind.RETRY) == JOBS
        assert states(ledger, batch) == {State.QUEUED: JOBS}
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=1)
        following = ledger.claim(POOL, "w")
        assert following is not None
        assert following.job.parents == (batch.jobs[JOBS - 1],)
        assert ledger.claim(POOL, "w") is None
        assert audit(ledger, 100) == {}
        assert redis.keys("wf:act-remade:*") == []

    def test_only_those_that_were_chosen(self, ledger: Ledger) -> None:
        batch = Manifest(6).admit(ledger)
        assert ledger.claim(POOL, "w") is not None
        assert done(ledger, batch, ActKind.CANCEL, Choice(state=State.RUNNING)) == 1
        assert states(ledger, batch) == {State.QUEUED: 5, State.RUNNING: 1}

    def test_of_another_tenants_batch_nothing(self, ledger: Ledger) -> None:
        batch = Manifest(2).admit(ledger)
        assert not ledger.begin_act("act", "rival", batch.id, ActKind.CANCEL)

    def test_a_step_is_short_whoever_follows_whom(self, ledger: Ledger, redis: Redis) -> None:
        """In commands, which a busy machine does not change."""
        chain = {n: [n - 1] for n in range(1, JOBS)}
        children = {n: [0] for n in range(1, JOBS)}
        many_parents = {n: range(64) for n in range(64, JOBS)}
        for number, parents in enumerate((chain, children, many_parents)):
            batch = Manifest(JOBS, per_chunk=100, parents=parents, name=f"batch_{number:032}").admit(ledger)
            for kind in (ActKind.PAUSE, ActKind.RESUME, ActKind.PRIORITY, ActKind.CANCEL):
                assert self._longest(ledger, redis, batch, kind) == JOBS
            # it comes to the children before the ends of their parents do
            assert states(ledger, batch) == {State.CANCELLED: JOBS}
        assert audit(ledger, 100) == {}

    def test_a_step_of_a_retry_is_short_too(self, ledger: Ledger, redis: Redis) -> None:
        batch = Manifest(120, per_chunk=100, parents={n: range(64) for n in range(64, 120)}).admit(ledger)
        for _ in range(64):
            claim = ledger.claim(POOL, "w")
            assert claim is not None
            ledger.fail(claim.job.id, claim.attempt, REFUSED)
        while ledger.see_to_children():
            pass
        assert states(ledger, batch) == {State.FAILED: 120}
        assert self._longest(ledger, redis, batch, ActKind.RETRY) == 120
        assert states(ledger, batch) == {State.QUEUED: 120}
        assert audit(ledger, 100) == {}

    def _longest(self, ledger: Ledger, redis: Redis, batch: Manifest, kind: ActKind) -> int:
        """Jobs that the act changes; none of its steps has many commands."""
        name, more = f"{kind}-{batch.id}", True
        ledger.begin_act(name, "acme", batch.id, kind, priority=8 if kind is ActKind.PRIORITY else None)
        while more:
            (more, _), calls = commands(redis, lambda: ledger.step_act(name))
            assert calls < 60 * STEP, kind
        return ledger.acts([batch.id])[0][0].changed

    def test_no_more_acts_than_are_kept_may_be_under_way(self, ledger: Ledger, redis: Redis) -> None:
        batch = Manifest(3).admit(ledger)

        def begin(number: int) -> bool:
            return ledger.begin_act(f"act-{number}", "acme", batch.id, ActKind.CANCEL, Choice(label=f"{number}"))

        assert all(begin(number) for number in range(ACTS_KEPT))
        with pytest.raises(TooMany):
            begin(ACTS_KEPT)
        (more, _), calls = commands(redis, lambda: ledger.step_act(f"act-{ACTS_KEPT - 1}"))
        assert more
        assert calls < 3 * ACTS_KEPT
        while ledger.step_act("act-0")[0]:
            pass
        assert begin(ACTS_KEPT)
        # the oldest made room
        assert not redis.exists("wf:act:act-0")
        for number in range(1, ACTS_KEPT + 1):
            while ledger.step_act(f"act-{number}")[0]:
                pass
        assert ledger.acts_open() == []
        assert len(list(redis.scan_iter("wf:act:*"))) == ACTS_KEPT

    def test_the_oldest_act_that_is_over_makes_room_wherever_it_stands(self, ledger: Ledger, redis: Redis) -> None:
        batch = Manifest(JOBS, per_chunk=100).admit(ledger)
        ledger.begin_act("pause", "acme", batch.id, ActKind.PAUSE)
        # each ends the one before
        for number in range(ACTS_KEPT - 1):
            ledger.begin_act(f"{number}", "acme", batch.id, ActKind.PRIORITY, priority=number % 10)
        last = f"{ACTS_KEPT - 2}"
        # stands behind the priority that the next one ends, and that is dropped while the pause is under way
        ledger.begin_act("label", "acme", batch.id, ActKind.CANCEL, Choice(label="none"))
        for number in range(ACTS_KEPT - 2):
            assert ledger.begin_act(f"more-{number}", "acme", batch.id, ActKind.PRIORITY, priority=number % 10)
        assert not redis.exists(f"wf:act:{last}")
        assert len(list(redis.scan_iter("wf:act:*"))) == ACTS_KEPT
        # a step of an act is still one of the first
        ledger.step_act("label")
        assert ledger.held_counts("acme")[HoldReason.PAUSED] == STEP
        while ledger.step_act("label")[0]:
            pass
        assert ledger.held_counts("acme")[HoldReason.PAUSED] == JOBS
