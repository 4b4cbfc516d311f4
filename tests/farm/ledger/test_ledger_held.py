"""Jobs that are not to start yet: where they stand, and that nothing starts them but the end of their reason."""

from collections.abc import Callable

import pytest
from ledger_parts import ARTIFACTS, BROKE, POOL, admit, audit, claimed, new_job, pass_time
from redis import Redis

from farm.jobs.job import Job
from farm.jobs.purchase import PurchaseEnding
from farm.jobs.spec import InputRef
from farm.jobs.states import HoldReason, State
from farm.ledger import BURST_POOL, INTAKE_POOL, CancelOutcome, CommitOutcome, HoldOutcome, Ledger

PAUSED, APPROVAL, DEPENDENCY = HoldReason.PAUSED, HoldReason.APPROVAL, HoldReason.DEPENDENCY


def found(ledger: Ledger, job_id: str) -> Job:
    job = ledger.find(job_id)
    assert job is not None
    return job


@pytest.mark.parametrize("reason", HoldReason)
def test_no_claim_audit_or_reap_starts_what_is_held(reason: HoldReason, ledger: Ledger) -> None:
    [admitted], [permit] = ledger.admit([new_job()])
    job_id = admitted.id
    assert ledger.hold([job_id], reason) == [HoldOutcome.HELD]
    assert audit(ledger) == {}
    ledger.reap()
    assert ledger.claim(POOL, "w1", permit=permit.id) is None
    assert (ledger.claimable(POOL), ledger.permits_wanted(POOL)) == (0, [])
    job = found(ledger, job_id)
    assert (job.state, job.held, job.held_for, job.position) == (State.QUEUED, True, (reason,), None)
    outcomes, permits = ledger.release_held([job_id], reason)
    assert outcomes == [HoldOutcome.FREE]
    assert [permit.pool for permit in permits] == [POOL]
    assert claimed(ledger).job.held_for == ()


def test_a_job_starts_when_its_last_reason_is_gone(ledger: Ledger) -> None:
    (job_id,) = admit(ledger, new_job(held_for=(APPROVAL,)))
    ledger.hold([job_id], PAUSED)
    assert ledger.release_held([job_id], PAUSED)[0] == [HoldOutcome.HELD]
    assert ledger.release_held([job_id], PAUSED)[0] == [HoldOutcome.HELD]  # said twice
    assert ledger.claim(POOL, "w1") is None
    assert ledger.release_held([job_id], APPROVAL)[0] == [HoldOutcome.FREE]
    assert claimed(ledger).job.id == job_id


def test_an_attempt_goes_on_and_its_retry_is_held(ledger: Ledger, redis: Redis) -> None:
    (job_id,) = admit(ledger, new_job())
    first = claimed(ledger)
    assert ledger.hold([job_id], PAUSED) == [HoldOutcome.RUNNING]
    assert not found(ledger, job_id).held
    ledger.fail(job_id, first.attempt, BROKE)
    pass_time(redis, 3600)
    ledger.reap()
    assert ledger.claim(POOL, "w1") is None
    assert found(ledger, job_id).held
    ledger.release_held([job_id], PAUSED)
    second = claimed(ledger)
    assert ledger.hold([job_id], PAUSED) == [HoldOutcome.RUNNING]
    assert ledger.commit(job_id, second.attempt, ARTIFACTS, gpu_s=1) is CommitOutcome.COMMITTED
    assert ledger.held_counts("acme") == dict.fromkeys(HoldReason, 0)


def test_what_was_bought_is_resumed_in_spite_of_a_reason_and_held_once_it_is_to_be_rendered_here(
    ledger: Ledger, redis: Redis
) -> None:
    (job_id,) = admit(ledger, new_job())
    assert ledger.buy(job_id, "buyer", "n1", {"provider": "p"}, price=1, caps=[])
    pass_time(redis, 3600)
    assert ledger.reap().resumable == 1
    # no process follows it; its money is spent all the same
    assert ledger.hold([job_id], PAUSED) == [HoldOutcome.RUNNING]
    resumed = claimed(ledger, BURST_POOL)
    ledger.unbuy(job_id, resumed.attempt, "n1", PurchaseEnding.REFUSED, 0)
    assert ledger.claim(POOL, "w1") is None
    assert found(ledger, job_id).held
    assert audit(ledger) == {}


def test_a_backoff_goes_on_while_a_job_is_held(ledger: Ledger) -> None:
    (job_id,) = admit(ledger, new_job())
    ledger.fail(job_id, claimed(ledger).attempt, BROKE)
    ready_ms = found(ledger, job_id).not_before_ms
    ledger.hold([job_id], PAUSED)
    ledger.release_held([job_id], PAUSED)
    assert ledger.claim(POOL, "w1") is None
    assert found(ledger, job_id).not_before_ms == ready_ms


def test_what_is_held_can_be_cancelled_and_is_then_over(ledger: Ledger, redis: Redis) -> None:
    ledger.topup("acme", 100)
    (job_id,) = admit(ledger, new_job(hold=40, held_for=(PAUSED, APPROVAL)))
    assert ledger.cancel("acme", job_id) is CancelOutcome.CANCELLED
    account = ledger.credit("acme")
    assert account is not None
    assert account.held == 0
    assert ledger.hold([job_id], PAUSED) == [HoldOutcome.OVER]
    assert ledger.release_held([job_id], PAUSED)[0] == [HoldOutcome.OVER]
    assert list(redis.scan_iter("wf:held:*")) == list(redis.scan_iter("wf:holds:*")) == []
    assert audit(ledger) == {}


def test_inputs_are_fetched_while_a_job_is_paused_but_not_before_what_they_depend_on(ledger: Ledger) -> None:
    paused, dependent = admit(
        ledger, new_job(intake=True, held_for=(PAUSED,)), new_job(intake=True, held_for=(DEPENDENCY,))
    )
    claim = claimed(ledger, INTAKE_POOL)
    assert claim.job.id == paused
    assert ledger.claim(INTAKE_POOL, "io") is None
    assert [found(ledger, job_id).held for job_id in (paused, dependent)] == [False, True]
    ledger.intake_done(paused, claim.attempt, {"image": InputRef(key="k")})
    assert ledger.claim(POOL, "w1") is None
    assert found(ledger, paused).held
    ledger.release_held([dependent], DEPENDENCY)
    assert claimed(ledger, INTAKE_POOL).job.id == dependent


def test_held_jobs_are_counted_listed_and_told(ledger: Ledger) -> None:
    ids = admit(ledger, *[new_job(held_for=(APPROVAL,)) for _ in range(3)], new_job(), new_job("other"))
    ledger.hold(ids[1:3], PAUSED)
    ledger.hold(ids[4:], PAUSED)
    assert ledger.held_counts("acme") == dict.fromkeys(HoldReason, 0) | {APPROVAL: 3, PAUSED: 2}
    assert ledger.counts("acme")[State.QUEUED] == 4
    assert ledger.standing_still(POOL) == 4
    assert ledger.held_ids("acme", APPROVAL, limit=2) == ids[:2]
    assert ledger.held_ids("acme", APPROVAL, after=ids[1]) == ids[2:3]
    ledger.release_held(ids[:1], APPROVAL)
    told = [event.data.get("held_for") for event in ledger.events("acme", after="0") if event.job == ids[0]]
    assert told == ["approval", None]
    assert ledger.hold(["nobody's"], PAUSED) == [HoldOutcome.NOT_FOUND]


DAMAGE: dict[str, tuple[Callable[[Redis, str], object], set[str]]] = {
    "nowhere": (lambda r, _: r.delete(f"wf:held:{POOL}"), {"on_hold"}),
    "in the queue as well": (lambda r, held: r.zadd(f"wf:queue:{POOL}:acme", {held: 1}), {"queue"}),
    "in the delay as well": (lambda r, held: r.zadd(f"wf:delayed:{POOL}", {held: 1}), {"delayed"}),
    "not listed": (lambda r, held: r.zrem("wf:holds:acme:paused", held), {"index"}),
    "listed under another reason": (lambda r, held: r.zadd("wf:holds:acme:parked", {held: 0}), {"index"}),
    "listed without a record": (lambda r, _: r.zadd("wf:holds:acme:parked", {"0": 0}), {"index"}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_audit_puts_what_is_held_back_in_its_place(damage: str, ledger: Ledger, redis: Redis) -> None:
    (job_id,) = admit(ledger, new_job(held_for=(PAUSED,)))
    harm, drift = DAMAGE[damage]
    harm(redis, job_id)
    assert ledger.claim(POOL, "w1") is None
    assert set(audit(ledger)) <= drift
    assert audit(ledger) == {}
    assert redis.zrange(f"wf:held:{POOL}", 0, -1) == [job_id]
    assert redis.zrange("wf:holds:acme:paused", 0, -1) == [job_id]
    assert redis.zcard("wf:holds:acme:parked") == 0


def test_a_job_that_is_held_without_a_reason_is_queued(ledger: Ledger, redis: Redis) -> None:
    (job_id,) = admit(ledger, new_job(held_for=(PAUSED,)))
    redis.hdel(f"wf:job:{job_id}", "held_for")
    assert set(audit(ledger)) == {"on_hold", "index"}
    assert claimed(ledger).job.id == job_id
