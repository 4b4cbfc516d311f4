"""What a tenant's renders take over what was predicted of them, learned from those that ended and from those that still
run. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

#: before anything is known: standard deviations of tenants about the pool, and of single renders about their tenant
_TENANT, _RENDER = 0.3, 0.25
#: tenants, and renders, that this is supposed to have been seen of
_TENANTS, _RENDERS = 3.0, 4.0
#: renders that are supposed to have taken what was predicted
_SUPPOSED = 2.0


@dataclass(frozen=True)
class RenderSums:
    """Sums over renders that ended, of which older ones weigh less: their number, the seconds that were predicted, that
    they took, and what they took squared over what was predicted."""

    count: float = 0.0
    predicted_s: float = 0.0
    took_s: float = 0.0
    squares_s: float = 0.0

    @property
    def mean_s(self) -> float:
        """Predicted seconds of one render, on average; 0 where there is none."""
        return self.predicted_s / self.count if self.count else 0.0

    @property
    def scatter(self) -> float:
        """The squared deviations of their ratios, added up."""
        if not self.predicted_s:
            return 0.0
        return max(0.0, self.squares_s - self.took_s**2 / self.predicted_s) / self.mean_s

    def and_(self, took_s: float, predicted_s: float, weight: float) -> "RenderSums":
        """With one more render, which counts as `weight` renders."""
        return RenderSums(
            self.count + weight,
            self.predicted_s + weight * predicted_s,
            self.took_s + weight * took_s,
            self.squares_s + weight * took_s**2 / predicted_s,
        )


_NONE = RenderSums()


@dataclass(frozen=True)
class RunningRender:
    """One that runs: what was predicted of it, for how long it has run, and its lane. cold: its worker had nothing
    loaded."""

    tenant: str
    tier: str
    predicted_s: float
    run_s: float
    cold: bool = False
    lane: str = ""


@dataclass(frozen=True)
class Pace:
    """level: seconds that a predicted second takes. doubt: the standard deviation of `level`, larger while little is
    known. spread: the standard deviation of single renders from it."""

    level: float = 1.0
    doubt: float = _TENANT
    spread: float = _RENDER


class Paces:
    """The pace of each tenant of whom renders are known, and `other` for the rest. load_s: seconds that a worker's
    first load of a model takes."""

    def __init__(self, known: Mapping[str, Pace], other: Pace, load_s: float = 0.0) -> None:
        self._known, self._other, self.load_s = known, other, load_s

    def of(self, tenant: str) -> Pace:
        """The tenant's pace; the pool's, where nothing is known of the tenant."""
        return self._known.get(tenant, self._other)

    def remaining_s(self, one: RunningRender) -> float:
        """Seconds that it still takes. One that has run for longer than expected is not expected to end at once."""
        pace = self.of(one.tenant)
        due_s = pace.level * one.predicted_s + one.cold * self.load_s
        return _left_s(due_s, pace.spread * one.predicted_s, one.run_s)


def paces(renders: Mapping[str, RenderSums], cold: RenderSums = _NONE, running: Iterable[RunningRender] = ()) -> Paces:
    """A tenant of whom little is known is like the pool, and the pool like its predictions. cold: renders of any tenant
    with a load before them."""
    ended = _paces(renders, cold)
    seen = dict(renders)
    for one in running:
        # those that end first are the short ones: what still runs says how long the others are
        if one.predicted_s > 0 and not one.cold:
            weight = min(1.0, one.run_s / (ended.of(one.tenant).level * one.predicted_s))
            took_s = one.run_s + ended.remaining_s(one)
            seen[one.tenant] = seen.get(one.tenant, _NONE).and_(took_s, one.predicted_s, weight)
    return _paces(seen, cold)


def _paces(renders: Mapping[str, RenderSums], cold: RenderSums) -> Paces:
    known = {tenant: one for tenant, one in renders.items() if one.predicted_s > 0}
    count = sum(one.count for one in known.values())
    mean_s = sum(one.predicted_s for one in known.values()) / count if count else 1.0
    took_s, predicted_s = (sum(getattr(one, what) for one in known.values()) for what in ("took_s", "predicted_s"))
    pool = (took_s + _SUPPOSED * mean_s) / (predicted_s + _SUPPOSED * mean_s)
    freedom = sum(max(0.0, one.count - 1) for one in known.values())
    variance = (sum(one.scatter for one in known.values()) + _RENDERS * _RENDER**2) / (freedom + _RENDERS)
    apart = _apart(list(known.values()), pool, variance)
    found = {}
    for tenant, one in known.items():
        own = (one.scatter + _RENDERS * variance) / (max(0.0, one.count - 1) + _RENDERS)
        # so many renders of it say as much as what is known of the others
        worth = own / apart
        level = (one.took_s + worth * pool * one.mean_s) / (one.predicted_s + worth * one.mean_s)
        found[tenant] = Pace(level, math.sqrt(own / (one.count + worth)), math.sqrt(own))
    load_s = max(0.0, cold.took_s - pool * cold.predicted_s) / max(1.0, cold.count)
    return Paces(found, Pace(pool, math.sqrt(apart), math.sqrt(variance)), load_s)


def _apart(tenants: Sequence[RenderSums], pool: float, variance: float) -> float:
    """The variance of tenants about the pool."""
    squares, weights = _TENANTS * _TENANT**2, _TENANTS
    for one in tenants:
        weight = one.count / (one.count + _RENDERS)
        # part of its deviation is that of a few renders
        squares += weight * max(0.0, (one.took_s / one.predicted_s - pool) ** 2 - variance / max(1.0, one.count))
        weights += weight
    return squares / weights


def _left_s(mean_s: float, deviation_s: float, run_s: float) -> float:
    """What is left of something normally distributed that is known to be longer than `run_s`."""
    if deviation_s <= 0:
        return max(0.0, mean_s - run_s)
    z = (run_s - mean_s) / deviation_s
    if z > 6:
        return deviation_s / z
    beyond = 0.5 * math.erfc(z / math.sqrt(2))
    return deviation_s * (math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / beyond - z)
