"""The audit: whatever came apart is found, named and put right, on the safe side."""

from collections.abc import Callable

import pytest
from ledger_parts import ARTIFACTS, BROKE, POOL, admit, audit, claimed, new_job
from redis import Redis

from farm.jobs.ids import new_job_id
from farm.jobs.states import State
from farm.ledger import INTAKE_POOL, Account, Ledger


class Farm:
    """One job in every place that a job can be."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        ledger.topup("acme", 1000)
        self.done, self.dead, self.delayed, self.running = admit(
            ledger, *[new_job(priority=9, hold=10, label="b") for _ in range(4)]
        )
        for _ in range(4):
            claimed(ledger)
        ledger.commit(self.done, 1, ARTIFACTS, gpu_s=1)
        ledger.cancel("acme", self.dead)
        ledger.fail(self.dead, 1, BROKE)
        ledger.fail(self.delayed, 1, BROKE)
        self.fetching, self.waiting, self.queued = admit(
            ledger, new_job(intake=True, hold=10), new_job(intake=True, hold=10), new_job(hold=10)
        )
        assert claimed(ledger, INTAKE_POOL).job.id == self.fetching


@pytest.fixture
def farm(ledger: Ledger) -> Farm:
    return Farm(ledger)


def test_a_house_in_order_has_no_drift(farm: Farm) -> None:
    for limit in (1, 2, 7, 1000):
        assert audit(farm.ledger, limit) == {}


DAMAGE: dict[str, tuple[Callable[[Redis, Farm], object], set[str]]] = {
    "a queued job in no queue": (lambda r, f: r.delete(f"wf:queue:{POOL}:acme", f"wf:fair:{POOL}"), {"queue"}),
    "a delayed job that is nowhere": (lambda r, f: r.zrem(f"wf:delayed:{POOL}", f.delayed), {"queue"}),
    "a tenant whose turn never comes": (lambda r, f: r.delete(f"wf:fair:{POOL}"), {"fair"}),
    "a queued job that is delayed as well": (lambda r, f: r.zadd(f"wf:delayed:{POOL}", {f.queued: 1}), {"delayed"}),
    "a running job without a lease": (lambda r, f: r.zrem(f"wf:leases:{POOL}", f.running), {"lease"}),
    "a running job in the queue": (lambda r, f: r.zadd(f"wf:queue:{POOL}:acme", {f.running: 1}), {"queue"}),
    "a job that is over in the queue": (lambda r, f: r.zadd(f"wf:queue:{POOL}:acme", {f.done: 1}), {"queue"}),
    "a job that is over with a lease": (lambda r, f: r.zadd(f"wf:leases:{POOL}", {f.dead: 2**42}), {"lease"}),
    "a job that is over and delayed": (lambda r, f: r.zadd(f"wf:delayed:{POOL}", {f.done: 2**42}), {"delayed"}),
    "a queued job with a lease": (lambda r, f: r.zadd(f"wf:leases:{POOL}", {f.queued: 2**42}), {"lease"}),
    "a fetched job that waits as well": (
        lambda r, f: r.zadd(f"wf:queue:{INTAKE_POOL}:acme", {f.fetching: 1}),
        {"queue"},
    ),
    "a running job left in intake": (lambda r, f: r.zadd(f"wf:delayed:{INTAKE_POOL}", {f.running: 1}), {"delayed"}),
    "a job in no index": (lambda r, f: r.zrem("wf:jobs:acme:queued", f.queued), {"index"}),
    "a job in two indexes": (lambda r, f: r.zadd("wf:jobs:acme:failed", {f.queued: 0}), {"index"}),
    "a job in the wrong index of its label": (lambda r, f: r.zadd("wf:label:acme:queued:b", {f.done: 0}), {"index"}),
    "an index entry without a job": (lambda r, f: r.zadd("wf:jobs:acme:queued", {new_job_id(): 0}), {"index"}),
    "too much held": (lambda r, f: r.hincrby("wf:credit:acme", "held", 7), {"held"}),
    "too little held": (lambda r, f: r.hincrby("wf:credit:acme", "held", -7), {"held"}),
    "a job that will never be forgotten": (lambda r, f: r.zrem("wf:ended", f.done), {"ended"}),
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("limit", [1, 100])
def test_damage_is_named_and_mended(what: str, limit: int, farm: Farm, redis: Redis) -> None:
    do, names = DAMAGE[what]
    do(redis, farm)
    assert set(audit(farm.ledger, limit)) == names
    assert audit(farm.ledger, limit) == {}
    assert farm.ledger.credit("acme") == Account(990, 50)
    # and everything that was not over still ends
    assert farm.ledger.commit(farm.running, 1, ARTIFACTS, gpu_s=1) == "committed"
    assert farm.ledger.intake_done(farm.fetching, 1, {})[0] == "committed"
    left = {farm.queued, farm.fetching, farm.delayed} if "nowhere" in what else {farm.queued, farm.fetching}
    assert {claimed(farm.ledger).job.id for _ in left} == left
    assert farm.ledger.claim(POOL, "w") is None
    assert farm.ledger.forget(2**42) != []
    assert audit(farm.ledger) == {}


def test_a_hold_that_outlived_its_job_is_closed(farm: Farm, redis: Redis) -> None:
    redis.hset(f"wf:job:{farm.dead}", "hold_open", 1)
    redis.hincrby("wf:credit:acme", "held", 10)
    assert audit(farm.ledger) == {"hold": 1}
    assert farm.ledger.credit("acme") == Account(990, 50)
    assert farm.ledger.statement("acme")[-1].kind == "release"


@pytest.mark.parametrize("wrong_by", [0, 3])
def test_the_sum_of_the_holds_is_exact_while_jobs_come_and_go(wrong_by: int, farm: Farm, redis: Redis) -> None:
    """The sum in small steps, and between any two of them jobs are admitted, committed and cancelled, behind the place
    that it has reached and before it."""
    ledger = farm.ledger
    admit(ledger, *[new_job(hold=1) for _ in range(40)])
    redis.hincrby("wf:credit:acme", "held", wrong_by)
    found: dict[str, int] = {}
    cursor: str | None = "tenant:acme:"  # the records were looked at before
    steps = 0
    while cursor:
        report = ledger.audit(cursor, 3)
        found |= report.drift
        cursor, steps = report.cursor, steps + 1
        if steps <= 12:
            admit(ledger, new_job(hold=5))
            claim = claimed(ledger)  # the oldest
            ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=1)
            newest = ledger.page("acme", states=[State.QUEUED], limit=2).jobs[-1]
            ledger.cancel("acme", newest.id)
    assert steps > 12
    assert found == ({"held": 1} if wrong_by else {})
    assert audit(ledger) == {}


def test_two_audits_at_once_do_not_add_up(farm: Farm) -> None:
    ledger = farm.ledger
    admit(ledger, *[new_job(hold=1) for _ in range(9)])
    one, two = None, None
    while True:
        report = ledger.audit(one, 2)
        assert report.drift == {}
        one = report.cursor
        two_report = ledger.audit(two, 3)
        assert two_report.drift == {}
        two = two_report.cursor
        if one is None:
            break
    assert audit(ledger) == {}


def test_the_audit_walks_every_job(farm: Farm) -> None:
    admit(farm.ledger, *[new_job("other") for _ in range(40)])
    checked, cursor = 0, None
    while True:
        report = farm.ledger.audit(cursor, 10)
        checked += report.checked
        cursor = report.cursor
        if cursor is None:
            break
    assert checked >= 2 * 47
