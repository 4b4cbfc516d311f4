"""Rate, concurrency and breaker in one step, for all processes. Time is a key of Redis here, so every wait is exact."""

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from farm.config import RedisSettings, Settings
from farm.jobs.purchase import PurchaseEnding
from farm.ledger import Ledger, SwitchKind
from farm.providers.entry import Entry
from farm.providers.gate import Gate, Holdup, Taken, Wait
from farm.wire.http import Why
from tests.farm.ledger.ledger_parts import new_job

_NOW = "test-now"
_CLOCK = f"local NOW = tonumber(redis.call('GET', '{_NOW}'))\n"
#: a slot without a purchase: a lease and five exchanges
_TERM_S = Settings().lease.seconds + 5 * 30.0
BUYER = dict.fromkeys(("who", "why"), "test")


class Clock:
    def __init__(self, redis: Redis) -> None:
        self._redis, self.ms = redis, 1_000_000_000
        self.on(0)

    def on(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        self._redis.set(_NOW, self.ms)


def entry(name: str = "kie", **changes: Any) -> Entry:
    usual: dict[str, Any] = {
        "dialect": "kie", "base_url": "https://kie.example", "key_names": ("a",),
        "rate_per_s": 2.0, "rate_burst": 4, "concurrency": 3, "slot_s": 600.0,
    }  # fmt: skip
    return Entry(name=name, **usual | changes)


@pytest.fixture
def clock(redis: Redis) -> Clock:
    return Clock(redis)


@pytest.fixture
def gate(redis: Redis, redis_settings: RedisSettings, clock: Clock) -> Callable[..., Gate]:
    def make(*entries: Entry, **health: Any) -> Gate:
        known = {one.name: one for one in entries or (entry(),)}
        return Gate(redis, Settings(redis=redis_settings, provider_health=health), known, clock=_CLOCK)

    return make


def books(redis: Redis) -> dict[str, Any]:
    """All that the scripts have written."""
    keys = sorted(redis.scan_iter("*provider:*"))
    return {
        key: redis.zrange(key, 0, -1, withscores=True) if redis.type(key) == "zset" else redis.hgetall(key)
        for key in keys
    }


def test_a_place_is_rate_and_slot_at_once(gate: Callable[..., Gate], clock: Clock) -> None:
    mine = gate(entry(concurrency=99))
    assert [mine.take("kie", None, f"j{n}") for n in range(4)] == [Taken("a")] * 4
    late = mine.take("kie", None, "j4")
    assert late == Wait(0.5, Holdup.RATE)
    clock.on(0.5)
    assert mine.take("kie", None, "j4") == Taken("a")
    few = gate(entry("few", rate_burst=99))
    assert [isinstance(few.take("few", "a", f"j{n}"), Taken) for n in range(4)] == [True] * 3 + [False]
    few.give("few", "a", "j0")
    few.give("few", "a", "j0")
    assert few.take("few", "a", "j9") == Taken("a")
    assert few.take("few", "a", "j10").why is Holdup.CONCURRENCY  # type: ignore[union-attr]


def test_a_place_that_is_asked_for_again_is_the_same(gate: Callable[..., Gate], redis: Redis) -> None:
    mine = gate()
    mine.take("kie", None, "j")
    before = books(redis)
    assert [mine.take("kie", None, "j") for _ in range(9)] == [Taken("a")] * 9
    assert books(redis) == before


def test_the_key_with_most_room_is_taken(gate: Callable[..., Gate]) -> None:
    mine = gate(entry(key_names=("a", "b"), rate_burst=99))
    taken = [mine.take("kie", None, f"j{n}") for n in range(7)]
    assert sorted(one.key for one in taken[:6] if isinstance(one, Taken)) == ["a"] * 3 + ["b"] * 3
    assert taken[6].why is Holdup.CONCURRENCY  # type: ignore[union-attr]
    mine.penalise("kie", "a", Why.CREDIT, None, "Insufficient credits")
    mine.give("kie", "a", "j0")
    mine.give("kie", "b", "j1")
    assert mine.take("kie", None, "more") == Taken("b")


def _acts(seed: int) -> Iterator[tuple[str, int, int]]:
    """(act, job, process): many takes, so that limits are reached; time goes on in small steps."""
    dice = random.Random(seed)
    for _ in range(120):
        act = dice.choices(("take", "give", "on", "busy"), (12, 3, 3, 0.8))[0]
        yield act, dice.randrange(12), dice.randrange(2)


@pytest.mark.parametrize("seed", range(3))
def test_whoever_asks_in_whatever_order_no_limit_is_passed(
    seed: int, gate: Callable[..., Gate], redis: Redis, clock: Clock
) -> None:
    """Two processes. In no window are there more submissions than rate and burst allow, at no time more open jobs than
    slots, none while the account is parked; and a no leaves nothing behind. That the run comes to each limit is part of
    the test."""
    one = entry(rate_per_s=1.0, rate_burst=3, concurrency=4)
    processes = (gate(one), gate(one))
    taken: list[int] = []
    inside: set[str] = set()
    refused: set[Holdup] = set()
    parked_until = 0
    for act, number, who in _acts(seed):
        mine, holder = processes[who], f"j{number}"
        if act == "on":
            clock.on(number / 4)
        elif act == "give":
            mine.give("kie", "a", holder)
            inside.discard(holder)
        elif act == "busy":
            pause = mine.penalise("kie", "a", Why.BUSY, 1 + number / 4)
            parked_until = max(parked_until, clock.ms + round(pause * 1000))
        else:
            before = books(redis)
            found = mine.take("kie", None, holder)
            if isinstance(found, Wait):
                assert holder not in inside
                assert found.seconds > 0
                assert books(redis) == before
                refused.add(found.why)
            elif holder not in inside:
                assert clock.ms >= parked_until
                taken.append(clock.ms)
                inside.add(holder)
        assert len(inside) <= 4
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= 3 + (taken[last] - taken[first]) / 1000 + 1e-6
    assert refused >= {Holdup.RATE, Holdup.CONCURRENCY, Holdup.BUSY}


def test_processes_that_ask_at_the_same_moment_share_the_slots(gate: Callable[..., Gate]) -> None:
    one = entry(rate_per_s=1e6, rate_burst=10_000, concurrency=5)
    taken, start = list[Taken | Wait](), threading.Barrier(8)

    def work(number: int) -> None:
        mine = gate(one)
        start.wait()
        for turn in range(5):
            taken.append(mine.take("kie", None, f"{number}-{turn}"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 40
    assert sum(isinstance(one, Taken) for one in taken) == 5


def test_a_429_is_obeyed_then_the_rate_is_held_and_raised_slowly(gate: Callable[..., Gate], clock: Clock) -> None:
    mine = gate(entry(concurrency=10), held_s=60.0, raise_every_s=30.0)
    for n in range(3):
        mine.take("kie", None, f"j{n}")
    # many that were under way hear the same 429
    for _ in range(5):
        assert mine.penalise("kie", "a", Why.BUSY, 20.0, "slow down") == 20.0
    found = mine.take("kie", None, "next")
    assert found == Wait(20.0, Holdup.BUSY, "slow down")
    assert (mine.state("kie").accounts[0].cap, mine.state("kie").accounts[0].slots) == (0.5, 2)
    caps, slots = [], []
    for _ in range(9):
        clock.on(30.0)
        caps.append(mine.state("kie").accounts[0].cap)
        slots.append(mine.state("kie").accounts[0].slots)
    assert caps == [0.5, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0, 1.0]
    assert slots == [2, 2, 3, 4, 5, 6, 7, 8, 9]
    assert mine.penalise("kie", "a", Why.BUSY, 1e9) == 3600.0


def test_a_shortage_parks_the_lane_with_reason_and_time(gate: Callable[..., Gate], clock: Clock) -> None:
    mine = gate(entry(key_names=("a", "b")), entry("wiro"))
    assert mine.state("kie").parked is None
    mine.penalise("kie", "a", Why.CREDIT, None, "Insufficient credits")
    assert mine.state("kie").parked is None  # the other account has money
    mine.penalise("kie", "b", Why.KEY, None, "who are you?")
    assert mine.state("kie").parked == "credit for 600 s: Insufficient credits"
    assert mine.take("kie", None, "j") == Wait(600.0, Holdup.CREDIT, "Insufficient credits")
    clock.on(601)
    assert mine.take("kie", None, "j") == Taken("a")
    mine.penalise("wiro", "a", Why.AWAY, 30.0, "maintenance")
    assert mine.take("wiro", None, "j") == Wait(30.0, Holdup.AWAY, "maintenance")
    assert mine.penalise("wiro", "a", Why.INPUT, None) == 0.0


def test_an_operator_s_pause_is_of_the_whole_farm_and_in_the_log(
    gate: Callable[..., Gate], redis: Redis, redis_settings: RedisSettings
) -> None:
    mine, ledger = gate(), Ledger(redis, Settings(redis=redis_settings))
    assert ledger.pause(SwitchKind.PROVIDER, "kie", who="ada", why="they lost our clips")
    assert mine.take("kie", None, "j").why is Holdup.PAUSED  # type: ignore[union-attr]
    assert mine.state("kie").parked == "paused by an operator"
    ledger.resume(SwitchKind.PROVIDER, "kie", **BUYER)
    assert mine.take("kie", None, "j") == Taken("a")
    assert [(act.act, act.target) for act in ledger.operations()] == [
        ("resume", "provider kie"),
        ("pause", "provider kie"),
    ]


PEERS = tuple(entry(name, rate_burst=99, concurrency=99) for name in ("kie", "wiro", "crun"))


def fail(mine: Gate, name: str, failed: int, fine: int = 0) -> None:
    for n in range(failed + fine):
        mine.went(name, "m", ok=n < fine)


def test_a_provider_that_fails_more_than_its_peers_is_left_alone(gate: Callable[..., Gate], clock: Clock) -> None:
    mine = gate(*PEERS, probe_after_s=60.0)
    fail(mine, "wiro", 1, 9)
    fail(mine, "crun", 0, 10)
    fail(mine, "kie", 3)
    assert isinstance(mine.take("kie", None, "a"), Taken)  # three are too few to judge by
    fail(mine, "kie", 1)
    assert mine.take("kie", None, "b") == Wait(60.0, Holdup.BREAKER)
    assert "fails more than its peers" in str(mine.state("kie").parked)
    clock.on(60)
    # one is let through, and no other until that is known
    assert mine.take("kie", None, "probe") == Taken("a", probe=True)
    assert mine.take("kie", None, "second").why is Holdup.BREAKER  # type: ignore[union-attr]
    mine.went("kie", "m", ok=False, holder="probe")
    mine.give("kie", "a", "probe")
    assert mine.take("kie", None, "c") == Wait(60.0, Holdup.BREAKER)
    clock.on(60)
    assert mine.take("kie", None, "probe 2") == Taken("a", probe=True)
    mine.went("kie", "m", ok=True, holder="probe 2", seconds=9.0)
    assert mine.take("kie", None, "d") == Taken("a")


def test_a_probe_that_was_never_sent_makes_room_for_the_next(gate: Callable[..., Gate], clock: Clock) -> None:
    mine = gate(*(replace(one, slot_s=9000.0) for one in PEERS), probe_after_s=60.0)
    fail(mine, "crun", 0, 5)
    fail(mine, "kie", 5)
    clock.on(60)
    assert mine.take("kie", None, "probe") == Taken("a", probe=True)
    mine.give("kie", "a", "probe")
    assert mine.take("kie", None, "another") == Taken("a", probe=True)
    # and one whose process was killed before it could say so, as soon as its slot is free
    assert mine.take("kie", None, "third") == Wait(_TERM_S, Holdup.BREAKER)
    clock.on(_TERM_S)
    assert mine.take("kie", None, "third") == Taken("a", probe=True)


def test_a_probe_that_takes_much_longer_than_others_does_not_keep_the_breaker_open(
    gate: Callable[..., Gate], clock: Clock, redis: Redis
) -> None:
    mine = gate(*(replace(one, slot_s=9000.0) for one in PEERS), probe_after_s=60.0)
    fail(mine, "crun", 0, 5)
    fail(mine, "kie", 5)
    clock.on(60)
    assert mine.take("kie", None, "probe") == Taken("a", probe=True)
    redis.hset("wf:purchase:probe", mapping={"state": "open", "at_ms": clock.ms})
    waits = []
    while isinstance(found := mine.take("kie", None, "second"), Wait):
        waits.append(found)
        clock.on(found.seconds)
    assert waits == [*[Wait(_TERM_S, Holdup.BREAKER)] * 3, Wait(600.0 - 3 * _TERM_S, Holdup.BREAKER)]
    assert found == Taken("a", probe=True)


def test_what_all_providers_fail_is_not_one_s_fault(gate: Callable[..., Gate]) -> None:
    mine = gate(*PEERS)
    for name in ("kie", "wiro", "crun"):
        fail(mine, name, 10)
    open_ones = [name for name in ("kie", "wiro", "crun") if mine.state(name).breaker_open]
    # the first had no peer to be judged by
    assert open_ones == ["kie"]
    alone = gate(entry("only"), alone_above=0.8)
    fail(alone, "only", 3, 2)
    assert not alone.state("only").breaker_open


def test_failures_and_times_fade(gate: Callable[..., Gate], clock: Clock) -> None:
    mine = gate(*PEERS, half_life_s=100.0)
    fail(mine, "kie", 3, 1)
    mine.went("kie", "m", ok=True, seconds=50.0)
    mine.penalise("kie", "a", Why.BUSY, 10.0)
    now = mine.learned("kie", "m")
    assert (now.failure, now.failed_cost, now.seconds, now.busy_wait_s, now.weight) == (0.6, 0.0, 50.0, 2.0, 5.0)
    assert mine.learned("wiro", "m").busy_wait_s == 0.0
    mine.went("wiro", "m", ok=False, lost=1.0)
    mine.went("wiro", "m", ok=False, lost=0.5)
    mine.went("wiro", "m", ok=True, lost=1.0)
    assert mine.learned("wiro", "m").failed_cost == 0.75
    clock.on(300)
    assert mine.learned("wiro", "m").failed_cost == 0.75
    assert mine.learned("kie", "m").weight == pytest.approx(5 / 8, abs=1e-3)
    for _ in range(5):
        mine.went("kie", "m", ok=True, seconds=10.0)
    later = mine.learned("kie", "m")
    assert later.failure < 0.1
    assert 10.0 < (later.seconds or 0) < 11.0
    assert mine.learned("kie", "never asked").weight == 0


def test_a_slot_is_its_purchase_s_and_without_one_it_ends_by_itself(
    gate: Callable[..., Gate], redis: Redis, redis_settings: RedisSettings, clock: Clock
) -> None:
    """Also where its process was killed before the purchase began, and where an operator closed the purchase."""
    mine, ledger = gate(entry(slot_s=5000.0)), Ledger(redis, Settings(redis=redis_settings), clock=_CLOCK)

    def in_use() -> int:
        return mine.state("kie").accounts[0].in_use

    jobs = [new_job() for _ in range(2)]
    ledger.admit(jobs)
    for one in jobs:
        nonce = f"of {one.id}"
        assert isinstance(mine.take("kie", None, nonce), Taken)
        assert ledger.buy(one.id, "burst", nonce, {"provider": "kie", "key": "a"}, price=1) is not None
    assert isinstance(mine.take("kie", None, "killed"), Taken)
    assert isinstance(mine.take("kie", None, "next"), Wait)
    clock.on(200)
    assert in_use() == 2
    clock.on(600)
    assert isinstance(mine.take("kie", None, "next"), Taken)
    ledger.close_purchase(f"of {jobs[0].id}", PurchaseEnding.NEVER_ARRIVED, 0, **BUYER)
    clock.on(200)
    assert in_use() == 1
    # a provider that is never done with a job
    clock.on(5000)
    assert in_use() == 0


@pytest.fixture(autouse=True)
def _no_leftovers(redis: Redis) -> Iterator[None]:
    yield
    redis.delete(_NOW)
