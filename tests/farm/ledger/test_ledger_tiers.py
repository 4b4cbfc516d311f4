"""Tiers above the shares, caps, start-by times, completion windows, and the log of what operators did."""

import time
from typing import Any

import pytest
from ledger_parts import ARTIFACTS, BROKE, POOL, admit, audit, claimed, new_job, pass_time
from redis import Redis

from farm.jobs.job import Job, NewJob, Reshaped
from farm.jobs.states import State, Tier
from farm.ledger import INTAKE_POOL, Ledger, OperationOutcome, SwitchKind, Verdict

BY = {"who": "key k1", "why": "the client is in the house"}


def in_s(seconds: float) -> int:
    return int((time.time() + seconds) * 1000)


def economy(tenant: str = "acme", *, window_s: float = 86_400.0, **changes: Any) -> NewJob:
    return new_job(tenant, tier=Tier.ECONOMY, deadline_ms=in_s(window_s), **changes)


def found(ledger: Ledger, job_id: str) -> Job:
    job = ledger.find(job_id)
    assert job is not None
    return job


def order(ledger: Ledger, count: int) -> list[str]:
    return [claimed(ledger).job.id for _ in range(count)]


def test_urgent_goes_before_normal_and_economy_last_whosever_turn_it_is(ledger: Ledger) -> None:
    cheap, first, second, third = admit(ledger, economy("idle"), new_job("a"), new_job("b"), new_job("a"))
    assert ledger.set_tier(third, Tier.URGENT, **BY)[0] is OperationOutcome.DONE
    assert [found(ledger, job_id).position for job_id in (first, third)] == [1, 0]
    assert order(ledger, 4) == [third, first, second, cheap]


def test_an_economy_render_costs_no_share_of_the_normal_line(ledger: Ledger) -> None:
    admit(ledger, economy("a"))
    claim = claimed(ledger)
    ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=500)
    mine, others = admit(ledger, new_job("a"), new_job("b"))
    assert order(ledger, 2) == [mine, others]


def test_an_economy_job_whose_clip_is_longer_than_thought_becomes_normal_earlier(ledger: Ledger, redis: Redis) -> None:
    (job_id,) = admit(ledger, economy(window_s=8000, intake=True))
    claim = claimed(ledger, INTAKE_POOL)
    # of 8000 s a quarter is to spare, and the render takes 3000
    ledger.intake_done(job_id, claim.attempt, {}, Reshaped(832, 480, 41, 16, 3000.0, 9000.0))
    pass_time(redis, 2900)
    ledger.reap()
    assert found(ledger, job_id).tier is Tier.ECONOMY
    pass_time(redis, 200)
    ledger.reap()
    assert found(ledger, job_id).tier is Tier.NORMAL
    assert audit(ledger) == {}


def test_an_economy_job_becomes_normal_near_its_window_and_expires_unbilled_after_it(
    ledger: Ledger, redis: Redis
) -> None:
    ledger.topup("acme", 100)
    (job_id,) = admit(ledger, economy(window_s=8000, hold=40))
    pass_time(redis, 5900)
    ledger.reap()
    assert found(ledger, job_id).tier is Tier.ECONOMY
    pass_time(redis, 200)  # a quarter of the window is left, and the render
    ledger.reap()
    assert (found(ledger, job_id).tier, found(ledger, job_id).state) == (Tier.NORMAL, State.QUEUED)
    assert audit(ledger) == {}
    pass_time(redis, 2000)
    ledger.reap()
    job, account = found(ledger, job_id), ledger.credit("acme")
    assert (job.state, job.error_code, job.charged) == (State.CANCELLED, "expired", 0)
    assert account is not None
    assert (account.balance, account.held) == (100, 0)


def test_a_render_that_misses_its_window_is_told_and_ends_expired(ledger: Ledger, redis: Redis) -> None:
    (job_id,) = admit(ledger, economy(window_s=8000, hold=40))
    claim = claimed(ledger)
    pass_time(redis, 8001)
    ledger.heartbeat(job_id, claim.attempt)
    ledger.reap()
    assert ledger.heartbeat(job_id, claim.attempt) is Verdict.CANCEL
    ledger.commit(job_id, claim.attempt, ARTIFACTS, gpu_s=1)
    job = found(ledger, job_id)
    assert (job.state, job.error_code, job.artifacts) == (State.CANCELLED, "expired", None)


@pytest.mark.parametrize("who", ["reaper", "claim"])
def test_what_has_not_started_by_its_time_is_over(who: str, ledger: Ledger, redis: Redis) -> None:
    late, fetching, tried, other = admit(
        ledger,
        *(new_job(start_by_ms=in_s(500), priority=9), new_job(start_by_ms=in_s(500), intake=True)),
        *(new_job(start_by_ms=in_s(500), priority=9, lane="tried"), new_job()),
    )
    first = claimed(ledger, loaded="tried")
    assert first.job.id == tried
    ledger.fail(tried, first.attempt, BROKE)
    pass_time(redis, 501)
    if who == "reaper":
        ledger.reap()
    else:
        assert ledger.claim(INTAKE_POOL, "io") is None
    assert {claimed(ledger).job.id, claimed(ledger).job.id} == {tried, other}  # it had started once
    for job_id in (late, fetching):
        assert (found(ledger, job_id).state, found(ledger, job_id).error_code) == (State.CANCELLED, "expired")


def test_a_tenant_at_its_cap_leaves_the_worker_to_others_until_one_ends(ledger: Ledger, redis: Redis) -> None:
    redis.hset("wf:tenant:big", mapping={"max_running": 3, f"max_running|{POOL}": 2})
    admit(ledger, *[new_job("big") for _ in range(5)], new_job("big", pool="other"), new_job("big", pool="other"))
    running = [claimed(ledger), claimed(ledger)]
    assert ledger.claim(POOL, "w1") is None
    assert ledger.claimable(POOL) == 0
    claimed(ledger, "other")
    assert ledger.claim("other", "w1") is None
    (small,) = admit(ledger, new_job("small"))
    assert claimed(ledger).job.id == small
    assert audit(ledger) == {}
    ledger.commit(running[0].job.id, running[0].attempt, ARTIFACTS, gpu_s=1)
    assert claimed(ledger).job.tenant == "big"
    redis.hdel("wf:tenant:big", "max_running", f"max_running|{POOL}")
    ledger.reap()
    assert [claimed(ledger).job.tenant for _ in range(2)] == ["big", "big"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(SwitchKind.TENANT, "acme"), (SwitchKind.POOL, POOL), (SwitchKind.LANE, "m@bf16"), (SwitchKind.LANE, "m")],
)
def test_what_is_paused_starts_when_it_is_resumed(kind: SwitchKind, name: str, ledger: Ledger) -> None:
    (job_id,) = admit(ledger, new_job(lane="m@bf16"))
    assert ledger.pause(kind, name, **BY)
    assert not ledger.pause(kind, name, **BY)
    assert list(ledger.paused()) == [(kind, name)]
    assert ledger.claim(POOL, "w1") is None
    ledger.reap()
    assert ledger.claim(POOL, "w1") is None
    (other,) = admit(ledger, new_job("other", pool=POOL if kind is not SwitchKind.POOL else "elsewhere", lane="n"))
    assert claimed(ledger, found(ledger, other).pool).job.id == other
    assert ledger.resume(kind, name, **BY)[0]
    assert claimed(ledger).job.id == job_id
    assert [act.act for act in ledger.operations()] == ["resume", "pause", "pause"]
    assert audit(ledger) == {}


def test_every_act_is_in_the_log_with_who_why_before_and_after(ledger: Ledger) -> None:
    job_id, other = admit(ledger, new_job(), new_job())
    ledger.set_tier(job_id, Tier.URGENT, **BY)
    claim = claimed(ledger)
    assert ledger.set_tier(job_id, Tier.NORMAL, **BY)[0] is OperationOutcome.RUNNING
    assert ledger.requeue(job_id, **BY)[0] is OperationOutcome.DONE
    assert ledger.heartbeat(job_id, claim.attempt) is Verdict.LOST
    assert ledger.requeue(other, **BY)[0] is OperationOutcome.UNCHANGED
    assert found(ledger, job_id).attempts_used == 0
    told = [(act.who, act.why, act.act, act.target, act.before, act.after) for act in ledger.operations()]
    assert told == [
        (*BY.values(), "requeue", f"job {other}", "queued", "queued"),
        (*BY.values(), "requeue", f"job {job_id}", "attempt 1 on w1", "queued"),
        (*BY.values(), "tier", f"job {job_id}", "normal", "urgent"),
    ]
    assert ledger.operations(limit=1)[0].target == f"job {other}"
    assert len(ledger.operations(before=ledger.operations(limit=1)[0].id)) == 2


def test_a_backoff_ends_when_an_operator_queues_the_job(ledger: Ledger) -> None:
    (job_id,) = admit(ledger, new_job())
    ledger.fail(job_id, claimed(ledger).attempt, BROKE)
    assert ledger.claim(POOL, "w2") is None
    assert ledger.requeue(job_id, **BY)[0] is OperationOutcome.DONE
    assert claimed(ledger, worker="w2").job.id == job_id
