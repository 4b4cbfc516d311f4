"""`python -m bench.burst`: deadline misses, spend and wait of each policy on each trace."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.burst.policies import POLICIES
from bench.burst.world import Arrival, Seller, World

HOUR = 3600.0


@dataclass(frozen=True)
class PolicyFigures:
    """Shots that were late, dollars, and seconds from arrival to the end, on average."""

    missed: int
    spend: float
    wait_s: float


def arrivals(seed: int, *, jobs: int = 600, burst: float = 6.0, seconds: float = 90.0) -> list[Arrival]:
    """A day: quiet, a rush in its second third, quiet again. A shot is due half an hour after it comes."""
    rng, at, found = random.Random(seed), 0.0, []
    for n in range(jobs):
        rush = jobs // 3 <= n < 2 * jobs // 3
        at += rng.expovariate((burst if rush else 1.0) / 45.0)
        found.append(Arrival(at, seconds * rng.uniform(0.7, 1.5), at + rng.uniform(900.0, 2700.0)))
    return found


def steady(value: float) -> Callable[[float], float]:
    """The same at any time."""
    return lambda _: value


CHEAP = Seller("cheap", steady(0.10), steady(120.0), steady(0.02))
MIDDLE = Seller("middle", steady(0.14), steady(100.0), steady(0.01))
DEAR = Seller("dear", steady(0.25), steady(60.0), steady(0.0))

#: what providers do meanwhile
TRACES: dict[str, Sequence[Seller]] = {
    "as they say": (CHEAP, MIDDLE, DEAR),
    "five times slower": (replace(CHEAP, seconds=lambda t: 120.0 if t < 2.2 * HOUR else 600.0), MIDDLE, DEAR),
    "dearer at noon": (replace(CHEAP, price=lambda t: 0.10 if t < 2.5 * HOUR else 0.30), MIDDLE, DEAR),
    "retired": (replace(CHEAP, price=lambda t: 0.10 if t < 2.5 * HOUR else None), MIDDLE, DEAR),
    "fails": (replace(CHEAP, fails=lambda t: 0.02 if t < 2.2 * HOUR else 0.6), MIDDLE, DEAR),
}


def measure(trace: str, policy: str, seeds: Sequence[int] = (1, 2, 3)) -> PolicyFigures:
    """The sum over some days."""
    missed, spend, waits = 0, 0.0, []
    for seed in seeds:
        shots = arrivals(seed)
        world = World(shots, TRACES[trace], slots=2, seed=seed).run(POLICIES[policy]())
        missed += sum((shot.done_s or 0.0) > shot.due_s for shot in shots)
        spend += world.spend
        waits += [(shot.done_s or 0.0) - shot.at_s for shot in shots]
    return PolicyFigures(missed, spend, sum(waits) / len(waits))


def worse_on(one: PolicyFigures, other: PolicyFigures) -> list[str]:
    """In what `one` is worse than `other`."""
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in ("missed", "spend", "wait_s")}
    return [name for name, (mine, theirs) in pairs.items() if mine > theirs]


def main(_: Sequence[str] = ()) -> None:
    """A table for each trace."""
    for trace in TRACES:
        print(f"\n{trace}")
        found = {policy: measure(trace, policy) for policy in POLICIES}
        for policy, figures in found.items():
            than = worse_on(found["ours"], figures)
            note = f"   ours is worse in {' and '.join(than)}" if than and policy != "ours" else ""
            numbers = f"{figures.missed:5} late {figures.spend:9.2f} $ {figures.wait_s:8.0f} s from arrival"
            print(f"  {policy:16} {numbers}{note}")


if __name__ == "__main__":
    main()
