"""The simulation, small: what holds on every trace with the farm's own scripts, and figures that tell a bad rule."""

from itertools import pairwise

import pytest
from redis import Redis

from bench.simulation.bound import lower_bound_s
from bench.simulation.farm import simulate
from bench.simulation.figures import figures
from bench.simulation.ledger_policy import LedgerPolicy
from bench.simulation.policy import Plain
from bench.simulation.trace import LOAD_S, Crash, Trace, TraceShot
from bench.simulation.traces import MEAN_S, TRACES, make


@pytest.mark.parametrize("name", ["dump", "own_lanes", "crashes", "poison", "mixed", "economy"])
def test_every_shot_ends_once_and_no_worker_idles_while_it_could_render(name: str, redis: Redis) -> None:
    trace = make(name, gpus=4, size=0.12, seed=3)
    out = simulate(trace, LedgerPolicy(trace, redis))
    assert set(out.ended) == {shot.name for shot in trace.shots}
    done = [run.shot.name for run in out.runs if run.done]
    assert sorted(done) == sorted(shot.name for shot in trace.shots if not shot.poison)
    for worker in range(trace.gpus):
        runs = sorted((run for run in out.runs if run.worker == worker), key=lambda run: run.began_s)
        assert all(one.ended_s <= other.began_s for one, other in pairwise(runs))
        assert all(trace.large[worker] or not run.shot.large for run in runs)
    assert out.idle_s == 0
    told = figures(out)
    assert told.makespan >= 1.0
    # nobody starves: the longest render, a load and a crash are the most that a turn is late
    assert max(out.ended.values()) <= 1.5 * lower_bound_s(trace) + 4 * (1.5 * MEAN_S + LOAD_S)


def test_a_shot_that_takes_its_worker_down_too_often_ends(redis: Redis) -> None:
    shots = tuple(TraceShot(f"{n}", "a", 0.0, 2000.0, 2000.0) for n in range(2))
    crashes = tuple(Crash(0, at_s, 60.0) for at_s in (10.0, 400.0, 800.0))
    trace = Trace("lost", shots, (True,), crashes=crashes)
    out = simulate(trace, LedgerPolicy(trace, redis))
    assert set(out.ended) == {"0", "1"}
    assert [run.shot.name for run in out.runs if run.done] == ["1"]


def test_the_figures_tell_first_come_first_served_from_fair(redis: Redis) -> None:
    trace = make("dump", gpus=4, size=0.12, seed=3)
    fair, fifo = (figures(simulate(trace, rule)) for rule in (LedgerPolicy(trace, redis), Plain(trace)))
    assert fair.p95_s < fifo.p95_s / 2


def test_the_loaded_model_is_kept_while_little_is_owed(redis: Redis) -> None:
    trace = make("own_lanes", gpus=4, size=0.2, seed=3)
    loads = {}
    for slack_s in (0.0, 120.0):
        rule = LedgerPolicy(trace, redis, {"affinity_slack_s": slack_s})
        loads[slack_s] = figures(simulate(trace, rule)).loads
    assert loads[120.0] < loads[0.0]


def test_a_trace_is_the_same_for_the_same_seed() -> None:
    for name in TRACES:
        assert make(name, gpus=8, seed=5) == make(name, gpus=8, seed=5)
