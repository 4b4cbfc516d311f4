"""The operator's hands: a job is moved or ended as failed, a worker locked; each act is a line of the log."""

import pytest
from ledger_parts import ARTIFACTS, BROKE, POOL, admit, audit, claimed, new_job

from farm.jobs.job import Job
from farm.jobs.states import HoldReason, State, Tier
from farm.ledger import CommitOutcome, Ledger, OperationOutcome, SwitchKind, Verdict
from farm.ledger.outcomes import OperatorAct

BY = {"who": "op", "why": "a test"}


def found(ledger: Ledger, job_id: str) -> Job:
    job = ledger.find(job_id)
    assert job is not None
    return job


def last_act(ledger: Ledger) -> OperatorAct:
    return ledger.operations(limit=1)[0]


def test_a_job_is_moved_to_a_pool_that_there_is(ledger: Ledger) -> None:
    admit(ledger, new_job("other", pool="big"))
    plain, urgent = admit(ledger, new_job(), new_job())
    ledger.set_tier(urgent, Tier.URGENT, **BY)
    assert ledger.move(plain, "nowhere", **BY) == (OperationOutcome.NO_POOL, [])
    # the one permit that wakes a pool without workers is there already
    assert ledger.move(plain, "big", **BY) == (OperationOutcome.DONE, [])
    act = last_act(ledger)
    assert (act.act, act.target, act.before, act.after) == ("move", f"job {plain}", POOL, "big")
    assert ledger.move(urgent, "big", **BY)[0] is OperationOutcome.DONE
    assert ledger.move(urgent, "big", **BY)[0] is OperationOutcome.UNCHANGED
    assert ledger.claim(POOL, "w1") is None
    assert claimed(ledger, "big").job.id == urgent
    assert plain in {claimed(ledger, "big").job.id for _ in range(2)}
    assert ledger.move(urgent, POOL, **BY)[0] is OperationOutcome.RUNNING
    assert audit(ledger) == {}


def test_what_is_held_or_waits_for_its_retry_does_so_in_its_new_pool(ledger: Ledger) -> None:
    admit(ledger, new_job("other", pool="big"))
    (broken,) = admit(ledger, new_job())
    ledger.fail(broken, claimed(ledger).attempt, BROKE)
    (held,) = admit(ledger, new_job(held_for=(HoldReason.PAUSED,)))
    for job_id in (held, broken):
        assert ledger.move(job_id, "big", **BY)[0] is OperationOutcome.DONE
        assert (found(ledger, job_id).pool, found(ledger, job_id).position) == ("big", None)
    ledger.release_held([held], HoldReason.PAUSED)
    assert found(ledger, held).position is not None
    assert audit(ledger) == {}


@pytest.mark.parametrize("state", ["waiting", "queued", "held", "running"])
def test_a_job_ends_as_failed_whatever_it_does(state: str, ledger: Ledger) -> None:
    ledger.topup("acme", 100)
    more = {"held_for": (HoldReason.PAUSED,)} if state == "held" else {}
    (job_id,) = admit(ledger, new_job(intake=state == "waiting", hold=40, **more))
    if state == "running":
        claimed(ledger)
    assert ledger.end_failed(job_id, **BY)[0] is OperationOutcome.DONE
    job = found(ledger, job_id)
    assert (job.state, job.error_code) == (State.FAILED, "ended_by_operator")
    account = ledger.credit("acme")
    assert account is not None
    assert (account.balance, account.held) == (100, 0)
    if state == "running":
        assert ledger.heartbeat(job_id, 1) is Verdict.LOST
        assert ledger.commit(job_id, 1, ARTIFACTS, gpu_s=1) is CommitOutcome.FENCED
    assert ledger.end_failed(job_id, **BY)[0] is OperationOutcome.OVER
    assert (last_act(ledger).act, last_act(ledger).after) == ("fail", "failed")
    assert audit(ledger) == {}


def test_a_locked_worker_takes_nothing_and_ends_what_it_has(ledger: Ledger) -> None:
    first, second = admit(ledger, new_job(), new_job())
    attempt = claimed(ledger, worker="w1").attempt
    ledger.pause(SwitchKind.WORKER, "w1", **BY)
    assert ledger.claim(POOL, "w1") is None
    assert ledger.commit(first, attempt, ARTIFACTS, gpu_s=1) is CommitOutcome.COMMITTED
    assert claimed(ledger, worker="w2").job.id == second
    admit(ledger, new_job())
    assert ledger.resume(SwitchKind.WORKER, "w1", **BY)[0]
    assert claimed(ledger, worker="w1").job.tenant == "acme"
    assert (last_act(ledger).act, last_act(ledger).target) == ("resume", "worker w1")
