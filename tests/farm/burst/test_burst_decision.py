"""What is bought, of whom, and in which order: numbers in, numbers out."""

import math
from dataclasses import replace
from typing import Any

import pytest
from burst_parts import new_job
from hypothesis import given
from hypothesis import strategies as st

from bench.burst.__main__ import TRACES, measure, worse_on
from bench.burst.policies import POLICIES
from farm.burst.decision import (
    Chooser,
    PoolLoad,
    Promise,
    QueuedJob,
    Ranked,
    Seen,
    by_gain,
    predicted,
    to_buy,
)
from farm.burst.local import Able, able_for
from farm.jobs.job import Job
from farm.ledger.records import fresh
from farm.providers.entry import Entry, Match
from farm.providers.offers import Offer
from farm.scheduling.memory_fit import Memory
from farm.scheduling.offers import PoolOffer

NOW = 1_900_000_000_000
FULL = PoolLoad("gpu", slots=2, running=2, queued=50, busy_s=120.0)
BUSY = Able(count=2, idle=0)
PROMISE = Promise(after_s=600.0, until_share=0.5, least_depth=2, least_dwell_s=10.0)


def queued(count: int, *, seconds: float = 60.0, waited_s: float = 100.0, **changes: Any) -> list[Job]:
    jobs = [fresh(new_job(predicted_s=seconds, **changes), NOW, 0) for _ in range(count)]
    return [replace(job, queued_ms=NOW - int(1000 * waited_s)) for job in jobs]


def bought(jobs: list[Job], load: PoolLoad = FULL, able: Able = BUSY, *, buying: bool = False) -> list[Job]:
    waiting = predicted(jobs, load, lambda _: able, share=1.0, now_ms=NOW)
    return [one.job for one, _ in to_buy(waiting, load, PROMISE, buying=buying)]


def test_what_starts_in_time_stays_and_the_rest_is_bought() -> None:
    """Two workers take a job of 60 s every 30 s; 600 s hold the first 19, after half of what runs."""
    jobs = queued(50)
    assert bought(jobs) == jobs[20:]
    assert bought(jobs[:20]) == []


def test_buying_goes_on_until_the_wait_is_well_below_the_promise() -> None:
    jobs = queued(15)
    assert bought(jobs) == []
    assert bought(jobs, buying=True) == jobs[10:]


def test_nothing_is_bought_while_an_able_worker_idles_or_hardly_anything_waits() -> None:
    jobs = queued(50)
    assert bought(jobs, able=Able(2, idle=1)) == []
    assert bought(jobs, replace(FULL, queued=1)) == []
    # paused, none of them will take anything
    assert bought(jobs, replace(FULL, paused=True), Able(2, idle=2)) != []
    # nor of a tenant at its cap
    assert bought(jobs, replace(FULL, slots=1, capped=True), Able(9, idle=8)) == jobs[10:]


def test_a_job_that_nobody_here_can_render_waits_for_ever() -> None:
    jobs = queued(3)
    assert bought(jobs, able=Able(0, 0)) == jobs
    nobody = PoolLoad("gpu", slots=0, running=0, queued=3)
    assert bought(jobs, nobody) == jobs
    assert predicted(jobs, nobody, lambda _: BUSY, share=1.0, now_ms=NOW)[0].start_s == math.inf


def test_who_could_render_a_job_is_who_offers_its_model_and_does_not_leave_it_to_others() -> None:
    (job,) = queued(1)
    model = job.spec.model
    told = [
        PoolOffer(job.pool, (model,), None, workers=9, able=2, idle=1),
        PoolOffer(job.pool, ("other", model), Memory(24_000, 64_000), workers=3, able=3, idle=0),
        PoolOffer(job.pool, ("other",), None, workers=4, able=4, idle=4),
        PoolOffer("another", (model,), None, workers=5, able=5, idle=5),
    ]
    assert able_for(job, told) == Able(count=5, idle=1)


def test_a_job_that_came_just_now_waits_a_moment_first() -> None:
    assert bought(queued(50, waited_s=9.0)) == []


def test_a_deadline_is_a_promise_of_its_own() -> None:
    soon, later = queued(1, deadline_ms=NOW + 80_000)[0], queued(1, deadline_ms=NOW + 200_000)[0]
    assert bought([soon, later]) == [soon]


def test_a_forecast_of_the_scheduler_s_goes_before_the_sum() -> None:
    jobs = queued(3)
    found = predicted(
        jobs,
        FULL,
        lambda _: BUSY,
        share=1.0,
        now_ms=NOW,
        foretold=lambda job, ahead_s: None if job is jobs[0] else ahead_s,
    )
    assert [one.start_s for one in found] == [30.0, 60.0, 120.0]


def test_others_are_served_beside_a_tenant_by_their_share() -> None:
    jobs = queued(10)
    alone = predicted(jobs, FULL, lambda _: BUSY, share=1.0, now_ms=NOW)
    shared = predicted(jobs, replace(FULL, others_s=1e6), lambda _: BUSY, share=0.5, now_ms=NOW)
    little = predicted(jobs, replace(FULL, others_s=60.0), lambda _: BUSY, share=0.5, now_ms=NOW)
    assert [one.start_s for one in shared] == [2 * one.start_s - 30.0 for one in alone]
    assert little[9].start_s == alone[9].start_s + 30.0


@given(
    seconds=st.lists(st.floats(1.0, 5000.0), min_size=1, max_size=30),
    slots=st.integers(1, 5),
    after_s=st.floats(0.0, 5000.0),
)
def test_what_stays_is_never_worse_off_than_promised(seconds: list[float], slots: int, after_s: float) -> None:
    """With everything bought that breaks its promise, whoever is left starts in time."""
    jobs = [queued(1, seconds=one)[0] for one in seconds]
    load = PoolLoad("gpu", slots, slots, len(jobs), busy_s=0.0)
    promise = Promise(after_s, least_depth=1, least_dwell_s=0.0)
    waiting = predicted(jobs, load, lambda _: BUSY, share=1.0, now_ms=NOW)
    gone = {one.job.id for one, _ in to_buy(waiting, load, promise, buying=False)}
    left = [job for job in jobs if job.id not in gone]
    for one in predicted(left, load, lambda _: BUSY, share=1.0, now_ms=NOW):
        assert one.start_s <= after_s + 1e-6


def offer(name: str, price: int, match: Match = Match.SAME_WEIGHTS) -> Offer:
    return Offer(name, "kie", f"{name}/wan", "wan", match, "", price, 5.0, "480p")


ENTRIES = {name: Entry(name, "kie", "https://example.org", order=1) for name in ("cheap", "dear")}
CHEAP, DEAR = offer("cheap", 100_000), offer("dear", 150_000)


def ranked(seen: dict[str, Seen], *, explore: float = 0.0, draws: Any = None) -> list[Ranked]:
    chooser = Chooser(hour_usd=0.1, explore=explore, draw=draws or (lambda: 0.99))
    return chooser.ranked([CHEAP, DEAR], ENTRIES, lambda one: seen.get(one.provider, Seen()))


def test_the_price_is_that_of_a_result_and_not_of_a_try() -> None:
    assert [one.offer for one in ranked({})] == [CHEAP, DEAR]
    assert [one.offer for one in ranked({"cheap": Seen(failure=0.5, failed_cost=1.0)})] == [DEAR, CHEAP]
    # failures that are not billed cost their time alone
    assert [one.offer for one in ranked({"cheap": Seen(failure=0.5)})] == [CHEAP, DEAR]
    assert [one.offer for one in ranked({"cheap": Seen(seconds=3600.0)})] == [DEAR, CHEAP]
    assert [one.offer for one in ranked({"cheap": Seen(busy_wait_s=3600.0)})] == [DEAR, CHEAP]
    assert ranked({"cheap": Seen(failure=1.0)})[-1].offer == CHEAP


def test_who_is_not_done_in_time_comes_last_whatever_he_costs() -> None:
    def first(seen: Seen, due_s: float | None, draw: float = 0.99) -> Offer:
        chooser = Chooser(hour_usd=0.1, explore=0.03, draw=lambda: draw)
        return chooser.ranked([CHEAP, DEAR], ENTRIES, lambda one: seen if one == CHEAP else Seen(), due_s)[0].offer

    assert first(Seen(seconds=300.0), due_s=301.0) == CHEAP
    assert first(Seen(seconds=300.0), due_s=299.0) == DEAR
    # every second one fails: a result takes two
    assert first(Seen(failure=0.5, seconds=200.0), due_s=399.0) == DEAR
    assert first(Seen(failure=0.5, seconds=200.0), due_s=401.0) == CHEAP
    # nor is anybody tried who would be late
    assert first(Seen(seconds=300.0), due_s=299.0, draw=0.01) == DEAR
    assert first(Seen(seconds=300.0), due_s=None, draw=0.01) == DEAR
    # nobody is: as ever
    assert first(Seen(seconds=300.0), due_s=1.0) == CHEAP


def test_the_operator_s_order_goes_before_price() -> None:
    first = ENTRIES | {"dear": replace(ENTRIES["dear"], order=0)}
    found = Chooser(0.1, 0.0).ranked([CHEAP, DEAR], first, lambda _: Seen())
    assert [one.offer for one in found] == [DEAR, CHEAP]


def test_now_and_then_another_is_tried_so_that_what_is_known_of_it_stays_true() -> None:
    assert [(one.offer, one.explored) for one in ranked({}, explore=0.03, draws=lambda: 0.01)] == [
        (DEAR, True),
        (CHEAP, False),
    ]
    assert ranked({}, explore=0.03, draws=lambda: 0.05)[0].offer == CHEAP


def test_who_gains_most_for_each_dollar_comes_first() -> None:
    little, much, dear = (QueuedJob(job, 100.0, 160.0, 50.0) for job in queued(3))
    best = ranked({})[0]
    found = by_gain([(little, 10.0, best), (dear, 100.0, replace(best, effective=9_000_000)), (much, 100.0, best)])
    assert [one for one, _, _ in found] == [much, little, dear]


@pytest.mark.parametrize(("buying", "left"), [(False, 600.0), (True, 300.0)])
def test_hysteresis_is_on_the_promise(buying: bool, left: float) -> None:
    (job,) = queued(1)
    assert QueuedJob(job, left, 0.0, 0.0).broken_s(PROMISE, buying=buying) == 0.0
    assert QueuedJob(job, left + 1, 0.0, 0.0).broken_s(PROMISE, buying=buying) == 1.0


@pytest.mark.parametrize("trace", TRACES)
def test_the_policy_is_worse_than_no_other_in_two_of_late_shots_spend_and_wait(trace: str) -> None:
    """On a day of bench/burst; bench/README.md has the figures of three."""
    mine = measure(trace, "ours", seeds=(1,))
    assert mine.missed == 0
    for policy in sorted(set(POLICIES) - {"ours"}):
        assert len(worse_on(mine, measure(trace, policy, seeds=(1,)))) < 2, policy
