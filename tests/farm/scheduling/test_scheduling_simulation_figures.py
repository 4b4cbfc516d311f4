"""What the simulation measures against: the soonest end of a trace, and what is each tenant's own."""

import pytest

from bench.simulation.bound import lower_bound_s
from bench.simulation.farm import Simulated, simulate
from bench.simulation.policy import Plain
from bench.simulation.shares import busy_hours
from bench.simulation.trace import Crash, Run, Trace, TraceShot


def shot(tenant: str, true_s: float, at_s: float = 0.0, *, poison: bool = False) -> TraceShot:
    return TraceShot(f"{tenant}{at_s}", tenant, at_s, true_s, true_s, poison=poison)


def test_a_crash_takes_its_worker_away_and_what_is_loaded() -> None:
    long = shot("a", 100.0)
    assert lower_bound_s(Trace("", (long,), (True,))) == pytest.approx(160)
    # too early to have loaded anything: everything from the return on
    assert lower_bound_s(Trace("", (long,), (True,), crashes=(Crash(0, 50.0, 20.0),))) == pytest.approx(50 + 20 + 160)
    # the seconds before it count, as if a shot had ended just then
    assert lower_bound_s(Trace("", (long,), (True,), crashes=(Crash(0, 90.0, 20.0),))) == pytest.approx(110 + 60 + 70)
    # the other worker does it
    assert lower_bound_s(Trace("", (long,), (True, True), crashes=(Crash(0, 20.0, 900.0),))) == pytest.approx(160)


def test_no_schedule_is_faster_than_the_bound() -> None:
    """One that knows when the worker crashes ends a shot just before, and reaches it."""
    shots = tuple(TraceShot(f"{n}", "a", 0.0, true_s, true_s) for n, true_s in enumerate((40.0, 100.0, 50.0)))
    trace = Trace("", shots, (True,), crashes=(Crash(0, 200.0001, 30.0),))
    out = simulate(trace, Plain(trace))
    assert max(out.ended.values()) == pytest.approx(lower_bound_s(trace)) == pytest.approx(200 + 30 + 60 + 50)


def hours(runs: list[tuple[TraceShot, int, float, float]]) -> list[tuple[dict[str, float], float]]:
    """Of two GPUs: what was whose own, and the shortfall."""
    shots = {run[0].name: run[0] for run in runs}
    out = Simulated(Trace("", tuple(shots.values()), (True, True)), "")
    out.runs = [Run(one, worker, began, 0.0, ended, True) for one, worker, began, ended in runs]
    out.ended = {name: max(run.ended_s for run in out.runs if run.shot.name == name) for name in shots}
    return [(hour.own, round(hour.shortfall, 6)) for hour in busy_hours(out)]


def test_nobody_is_owed_the_time_before_it_came() -> None:
    a, b = shot("a", 3600.0), shot("b", 1800.0, 1800.0)
    other = TraceShot("other", "a", 0.0, 1800.0, 1800.0)
    assert hours([(a, 0, 0, 3600), (other, 1, 0, 1800), (b, 1, 1800, 3600)]) == [({"a": 5400, "b": 1800}, 0)]


def test_whoever_gets_less_of_the_time_when_both_want_falls_short() -> None:
    a, b = shot("a", 3600.0), shot("b", 3600.0)
    other = TraceShot("other", "a", 0.0, 1800.0, 1800.0)
    assert hours([(a, 0, 0, 3600), (other, 1, 0, 1800), (b, 1, 1800, 5400)])[0] == ({"a": 3600, "b": 3600}, 0.25)


def test_attempts_of_a_poisonous_shot_are_its_tenants_own() -> None:
    poison, a = shot("p", 3000.0, poison=True), shot("a", 6300.0)
    attempts = [(poison, 1, 300.0 * n, 300.0 * (n + 1)) for n in range(3)]
    rest = TraceShot("rest", "a", 0.0, 2700.0, 2700.0)
    assert hours([(a, 0, 0, 3600), *attempts, (rest, 1, 900, 3600)]) == [({"a": 6300, "p": 900}, 0)]
