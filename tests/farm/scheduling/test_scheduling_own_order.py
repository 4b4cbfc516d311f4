"""The order in which a tenant's jobs start where they need several lanes: beside the rule itself."""

from dataclasses import replace

import pytest
from redis import Redis

from bench.simulation.farm import simulate
from bench.simulation.ledger_policy import LedgerPolicy
from bench.simulation.trace import LOAD_S, Trace, TraceShot
from farm.scheduling.claims_ahead import FreeSlot, Front, FrontJob, OrderRule
from farm.scheduling.forecast import Snapshot, Waiting
from farm.scheduling.own_order import Turns, own_turns
from farm.scheduling.pace import Pace, Paces, RunningRender

RULE = OrderRule(window=16, passes=16, load_s=60.0)


def front(*lanes: str, seconds: float = 100.0, queued: int = 0, **more: int) -> Front:
    return Front([FrontJob(lane, seconds, **more) for lane in lanes], 0.0, 1.0, queued or len(lanes))


def test_as_the_claim_script_does_it(redis: Redis) -> None:
    """One worker, whose renders take what is predicted: chance has no say in the order."""
    lanes = [f"lane{n * n % 7 % 4}" for n in range(60)]
    shots = tuple(TraceShot(f"{n:03}", "a", 0.0, 100.0, 100.0, lane=lane) for n, lane in enumerate(lanes))
    trace = Trace("lanes", shots, (True,))
    policy = LedgerPolicy(trace, redis)
    started = simulate(trace, policy).started
    order = sorted(started, key=lambda name: started[name])
    # the first one loads its lane; the others are foretold then
    names = [shot.name for shot in shots if shot.name != order[0]]
    left = front(*(lanes[int(name)] for name in names))
    turns = own_turns({"a": left}, [FreeSlot(100.0, lanes[int(order[0])])], policy.ledger.order_rule)["a"]
    kept = {rank: told_s for points in turns.lanes.values() for rank, told_s in points}
    assert len(kept) > 40
    for rank, told_s in kept.items():
        assert told_s == 100.0 * (order.index(names[rank]) - 1)


def test_when_the_last_jobs_start_as_the_claim_script_does_it(redis: Redis) -> None:
    """Behind four renders wait four jobs of two tenants: the longest, which came last, starts first."""
    running = [
        TraceShot(f"r{n}", "ab"[n % 2], 0.0, took_s, took_s) for n, took_s in enumerate((50.0, 90.0, 140.0, 200.0))
    ]
    lengths = {"b2": 60.0, "a3": 95.0, "b4": 130.0, "a1": 300.0}
    waiting = [TraceShot(name, name[0], 1.0, took_s, took_s) for name, took_s in lengths.items()]
    policy = LedgerPolicy(Trace("last", (*running, *waiting), (True,) * 4), redis)
    started = simulate(policy.trace, policy).started
    assert min(lengths, key=lambda name: started[name]) == "a1"
    fronts = {
        tenant: Front([FrontJob("wan", lengths[name]) for name in names], time, 1.0, len(names))
        for tenant, names, time in (("a", ["a3", "a1"], 190.0), ("b", ["b2", "b4"], 290.0))
    }
    slots = [FreeSlot(one.true_s + LOAD_S - 1.0, "wan", one.tenant) for one in running]
    rule = replace(policy.ledger.order_rule, longest_last=True)
    told = own_turns(fronts, slots, rule, whole=True)
    found = {"a3": 0, "a1": 1, "b2": 0, "b4": 1}
    for name, rank in found.items():
        assert 1.0 + told[name[0]].starts_s[rank] == pytest.approx(started[name], rel=0.15)
    # where the first may be passed over no more, and where others go on below, in the order of their turns
    for other in (replace(rule, passes=0), replace(rule, longest_last=False)):
        plain = own_turns(fronts, slots, other, whole=True)
        assert plain["a"].starts_s[0] < plain["a"].starts_s[1]
    assert own_turns(fronts, slots, rule)["a"].starts_s == ()


def test_a_lane_that_is_loaded_starts_earlier_and_one_that_is_not_later() -> None:
    turns = own_turns({"a": front(*["warm", "cold"] * 20)}, [FreeSlot(10.0 * n, "warm") for n in range(4)], RULE)["a"]
    assert turns.moved_s("warm", 8, 100.0) < -300.0
    assert turns.moved_s("cold", 1, 100.0) > 300.0
    # between jobs that are there, and behind all of them
    assert turns.moved_s("cold", 2, 100.0) == pytest.approx(turns.moved_s("cold", 1, 100.0), abs=100.0)
    assert turns.before_s(400, 100.0) == 40_000.0
    assert turns.moved_s("new", 3, 100.0) == 0.0


def test_nothing_moves_where_there_is_one_lane_or_another_priority_or_nobody_may_be_passed_over() -> None:
    workers = [FreeSlot(0.0, "b")]
    assert own_turns({"a": front(*"aaaa")}, workers, RULE)["a"].lanes == {}
    urgent = Front([FrontJob("a", 100.0, priority=9), FrontJob("b", 100.0, priority=1)], 0.0, 1.0, 2)
    for jobs, rule in ((urgent, RULE), (front("a", "b"), OrderRule(16, 0)), (front("a", "b", passes=16), RULE)):
        assert own_turns({"a": jobs}, workers, rule)["a"].lanes == {"a": ((0, 0.0),), "b": ((1, 100.0),)}


def test_loras_of_the_loaded_model_come_before_another_model() -> None:
    turns = own_turns({"a": front("b", "a+fox")}, [FreeSlot(0.0, "a+owl")], RULE)["a"]
    assert turns.lanes == {"b": ((0, 100.0),), "a+fox": ((1, 0.0),)}


def test_of_a_long_queue_a_few_points_are_kept_and_its_end_is_like_all() -> None:
    jobs = front(*[f"lane{n % 4}" for n in range(400)], queued=10_000)
    turns = own_turns({"a": jobs}, [FreeSlot(0.0, "lane0")] * 8, RULE)["a"]
    assert all(len(points) <= 24 for points in [turns.plain, *turns.lanes.values()])
    assert max(rank for rank, _ in turns.lanes["lane3"]) < 400 - 16
    assert abs(turns.moved_s("lane3", 9_000, 100.0)) < 5_000.0


def test_what_is_foretold_follows_from_what_is_loaded_and_from_each_tenant_s_pace() -> None:
    line = [Waiting("a", 0.0, 1.0, 800.0, 8), Waiting("b", 0.0, 1.0, 100.0, 1)]
    running = [RunningRender("a", "normal", 100.0, 50.0, lane="warm")]
    told = Snapshot(1, [50.0], 1, [[], line, []], running)
    paces = Paces({"a": Pace(2.0)}, Pace(1.0))
    jobs = {("normal", "a"): front(*["cold", "warm"] * 4).jobs}
    a, b = told.paced(paces).ordered(jobs, paces, RULE).tiers[1]
    assert a.ahead_of(7, "warm") == pytest.approx(600.0)
    assert a.ahead_of(0, "cold") == pytest.approx(800.0)
    assert a.ahead_of(4) == pytest.approx(800.0)
    assert b.turns == Turns()


def test_starts_are_foretold_where_all_of_a_line_is_known_and_nobody_goes_before_it() -> None:
    line = [Waiting("a", 0.0, 1.0, 400.0, 2)]
    running = [RunningRender("a", "normal", 100.0, run_s, lane="wan") for run_s in (20.0, 60.0)]
    jobs = [FrontJob("wan", 100.0), FrontJob("wan", 300.0)]

    def told(urgent: int, economy: int, known: int = 2) -> Turns:
        tiers = [[Waiting("u", 0.0, 1.0, 100.0, urgent)], line, [Waiting("e", 0.0, 1.0, 100.0, economy)]]
        snapshot = Snapshot(2, [80.0, 40.0], 2, tiers, running)
        return snapshot.ordered({("normal", "a"): jobs[:known]}, Paces({}, Pace()), RULE).tiers[1][0].turns

    first, longest = told(0, 0).starts_s
    assert longest == pytest.approx(40.0, rel=0.2)
    assert first == pytest.approx(80.0, rel=0.2)
    # the longest is preferred only where nobody goes on below
    assert told(0, 1).starts_s == (longest, first)
    assert told(1, 0).starts_s == told(0, 0, known=1).starts_s == ()
