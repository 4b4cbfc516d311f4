"""Five ways to buy. Each looks at the world and answers who is bought of whom."""

import math
import random
from collections.abc import Callable

from bench.burst.world import Arrival, World
from farm.burst.decision import Chooser, Seen
from farm.providers.entry import Entry, Match
from farm.providers.offers import Offer

#: a job may wait so long; what the tests' tenants were promised, s
PROMISE_S = 600.0
Policy = Callable[[World], list[tuple[Arrival, str]]]


def always_local(_: World) -> list[tuple[Arrival, str]]:
    """Nothing is bought."""
    return []


def always_external(world: World) -> list[tuple[Arrival, str]]:
    """Everything that finds no free worker is bought where it is cheapest."""
    return [(shot, _cheapest(world)) for shot in world.queue if world.listed()]


def fixed_threshold(world: World) -> list[tuple[Arrival, str]]:
    """What stands behind the twentieth is bought where it is cheapest."""
    return [(shot, _cheapest(world)) for shot in world.queue[20:] if world.listed()]


def router(seed: int = 3) -> Policy:
    """As the largest router has published: among endpoints that did not fail lately one is drawn, by the inverse square
    of its price. When to buy is as in ours."""
    rng = random.Random(seed)

    def buy(world: World) -> list[tuple[Arrival, str]]:
        listed = world.listed()
        well = {name: price for name, price in listed.items() if world.known[name].seen.failure < 0.5} or listed
        if not well:
            return []
        weights = [1 / price**2 for price in well.values()]
        return [(shot, rng.choices(list(well), weights)[0]) for shot in _late(world)]

    return buy


def ours(seed: int = 5) -> Policy:
    """farm.burst.decision."""
    rng = random.Random(seed)
    chooser = Chooser(hour_usd=0.10, explore=0.03, draw=rng.random)

    def buy(world: World) -> list[tuple[Arrival, str]]:
        offers = [
            Offer(name, "farm", name, "wan", Match.SAME_WEIGHTS, "", round(price * 1e6), 5.0, "480p")
            for name, price in world.listed().items()
        ]
        entries = {one.provider: Entry(one.provider, "farm", "http://x") for one in offers}
        if not offers:
            return []

        def seen(offer: Offer) -> Seen:
            return world.known[offer.provider].seen

        return [
            (shot, chooser.ranked(offers, entries, seen, shot.due_s - world.now)[0].offer.provider)
            for shot in _late(world)
        ]

    return buy


def _late(world: World) -> list[Arrival]:
    """Those whose promise breaks, as farm.burst.decision.to_buy has the rule."""
    kept_s, found = 0.0, []
    left_s = sum(max(0.0, until - world.now) for until in world.busy)
    for shot in world.queue:
        start_s = (kept_s + left_s) / world.slots
        if start_s > PROMISE_S or world.now + start_s + shot.seconds > shot.due_s:
            found.append(shot)
        else:
            kept_s += shot.seconds
    return found


def _cheapest(world: World) -> str:
    listed = world.listed()
    return min(listed, key=lambda name: listed.get(name, math.inf))


POLICIES: dict[str, Callable[[], Policy]] = {
    "always local": lambda: always_local,
    "always external": lambda: always_external,
    "fixed threshold": lambda: fixed_threshold,
    "router": router,
    "ours": ours,
}
