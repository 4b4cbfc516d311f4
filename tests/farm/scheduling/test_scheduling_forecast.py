"""Forecasts: the fluid beside the rule itself, and intervals that hold as often as they say."""

import heapq
import random

import pytest

from farm.jobs.states import Tier
from farm.scheduling.forecast import Curve, Snapshot, Waiting, curves, expected, start_s
from farm.scheduling.pace import Pace, Paces, RunningRender
from farm.scheduling.prediction import predicted, score


def served_in_turn(slots: int, running: list[float], tiers: list[list[Waiting]], job_s: float) -> dict[str, float]:
    """When the last job of each tenant starts, claim by claim: the tier, then the least virtual time."""
    free = sorted([0.0] * (slots - len(running)) + running)
    left = [{one.tenant: [one.time, one.weight, one.queued] for one in tier} for tier in tiers]
    starts: dict[str, float] = {}
    while tier := next((tier for tier in left if tier), None):
        now = heapq.heappop(free)
        tenant = min(tier, key=lambda name: tier[name][0])
        starts[tenant] = now
        tier[tenant][0] += job_s / tier[tenant][1]
        tier[tenant][2] -= 1
        if not tier[tenant][2]:
            del tier[tenant]
        heapq.heappush(free, now + job_s)
    return starts


@pytest.mark.parametrize("seed", range(12))
def test_the_fluid_is_as_near_as_a_job_to_the_rule_itself(seed: int) -> None:
    chance, job_s = random.Random(seed), 10.0
    slots = chance.choice([1, 4, 16])
    tiers = [
        [
            Waiting(f"{tier}{n}", chance.uniform(0, 300), chance.choice([0.5, 1, 3]), job_s * count, count)
            for n in range(chance.randrange(1, 6))
            for count in [chance.randrange(1, 60)]
        ]
        for tier in range(2)
    ]
    running = [chance.uniform(0, 60) for _ in range(chance.randrange(slots + 1))]
    told = curves(Snapshot(slots, running, len(running), tiers))
    exact = served_in_turn(slots, running, tiers, job_s)
    for tier, curve in zip(tiers, told, strict=True):
        assert curve is not None
        for one in tier:
            # in the claim rule each of the other tenants may be a job ahead
            slack = job_s * (2 + 2 * sum(map(len, tiers)) / slots / min(other.weight for other in tier))
            assert abs(start_s(curve, one, one.queued_s - job_s) - exact[one.tenant]) <= slack


def test_nobody_there_to_wait_for_is_no_forecast() -> None:
    assert curves(Snapshot(0, [], 0, [[Waiting("a", 0, 1, 10, 1)]])) == [None]
    assert curves(Snapshot(2, [], 0, [[]])) == [None]


def test_a_thousand_tenants_leave_a_short_curve() -> None:
    tier = [Waiting(f"t{n}", n % 7, 1 + n % 3, 100.0 + n, 10) for n in range(1000)]
    (curve,) = curves(Snapshot(64, [], 0, [tier]))
    assert curve is not None
    assert len(curve.levels) <= 130
    assert [*curve.seconds] == sorted(curve.seconds)


def test_the_interval_holds_in_four_of_five_cases() -> None:
    chance = random.Random(1)

    def case() -> tuple[float, float, float]:
        guess_s, spread_s = chance.uniform(2000, 4000), chance.uniform(5, 300)
        # later than it was foretold, and not as spread as it was
        return guess_s, spread_s, guess_s + spread_s * chance.gauss(1.0, 2.0)

    held = []
    for _ in range(20):
        learned = [score(*case()) for _ in range(150)]
        for guess_s, spread_s, actual_s in [case() for _ in range(50)]:
            told = predicted(guess_s, spread_s, learned)
            held.append(told.low <= actual_s <= told.high)
    assert 0.76 <= sum(held) / len(held) <= 0.84
    # before anything is known the middle is the prediction itself, and the interval nearly that of its spread
    alone = predicted(100.0, 10.0, [])
    assert alone.seconds == pytest.approx(100.0)
    assert [alone.low, alone.high] == pytest.approx([89.7, 110.3], abs=0.5)
    assert predicted(0.0, 10.0, []).low == 0.0
    # outcomes make the interval, and no other prediction of the middle, which lies in it
    late = predicted(100.0, 10.0, [3.0 + n / 100 for n in range(200)])
    assert [late.low, late.seconds] == [100.0, 100.0]
    assert late.high > 140.0


def test_what_is_not_known_yet_widens_the_interval() -> None:
    curve = Curve((0.0, 1000.0), (0.0, 1000.0), mean_s=100.0, slot_s=100.0)
    known, new = Pace(1.0, 0.02, 0.1), Pace(1.0, 0.3, 0.1)
    assert expected(curve, new, 800, 100).start_spread_s > 2 * expected(curve, known, 800, 100).start_spread_s
    # what is added up is surer than its parts, and a wait with a render less sure than the wait
    far = expected(curve, Pace(1.0, 0.0, 0.5), 800, 100)
    assert 50 < far.start_spread_s < 0.5 * 800
    assert far.start_spread_s < far.finish_spread_s < far.start_spread_s + 50


def test_slots_take_whole_jobs() -> None:
    """Of eight jobs behind eight that run, the last starts when the last slot is free: none before it has to end."""
    running = [10.0 * n for n in range(8)]
    alone = Waiting("a", 0.0, 1.0, 8 * 100.0, 8)
    (curve,) = curves(Snapshot(8, running, 8, [[alone]]))
    assert curve is not None
    found = [start_s(curve, alone, alone.ahead_of(rank)) for rank in range(8)]
    assert found == pytest.approx(running, abs=6.0)


def test_renders_that_take_longer_make_everybody_wait_longer() -> None:
    line = [Waiting("a", 0, 2, 10, 1, one_s=10.0), Waiting("c", 0, 1, 10, 1)]
    running = [RunningRender("a", Tier.NORMAL, 10.0, 4.0), RunningRender("a", Tier.ECONOMY, 10.0, 0.0)]
    known = Paces({"a": Pace(2.0, 0.0, 0.0)}, Pace(1.0))
    paced = Snapshot(2, [], 2, [[], line, []], running).paced(known)
    assert [one.queued_s for one in paced.tiers[1]] == [20.0, 10.0]
    assert paced.tiers[1][0].one_s == 20.0
    # what runs in this tier will be charged ten seconds more than it was
    assert [one.time for one in paced.tiers[1]] == [5.0, 0.0]
    assert paced.running == [16.0, 20.0]


@pytest.mark.parametrize(
    "levels",
    [
        (0.0, 8.0, 16.0, 16.0),
        (0.0, 8.0, 16.0, 16.000000000000004),
        (0.0, 0.0, 8.0, 16.0),
        (16.0, 16.0, 16.0, 16.0),
        (16.0,),
    ],
)
def test_levels_that_rounding_has_made_the_same_tell_no_pace(levels: tuple[float, ...]) -> None:
    """A job whose turn comes behind all that is queued; two ends of queues may fall on one level."""
    curve = Curve(levels, (0.0, 10.0, 20.0, 21.0)[: len(levels)])
    told = [curve.seconds_at(level / 2) for level in range(80)]
    assert told == sorted(told)
    assert told[-1] < 100.0
