"""When a queued job starts: the rule of the claim script run forward on a snapshot of the queues, as a fluid. Pure.

Within a tier the tenants with the least virtual time are served, by weight, and the level up to which all have been
served rises. So one curve of a tier, level -> seconds from now, tells of every job in it: a tenant at `time` whose job
has `ahead_s` before it gets its turn at the level time + ahead_s / weight."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

#: points that are kept of a curve
_POINTS = 64


@dataclass(frozen=True)
class Waiting:
    """A tenant in a line: its virtual time and weight, and the GPU-seconds and jobs that it has queued. `last`: the id
    and the predicted seconds of the job that is behind all others of it."""

    tenant: str
    time: float
    weight: float
    queued_s: float
    queued: int
    last: str = ""
    last_s: float = 0.0


@dataclass(frozen=True)
class Snapshot:
    """slots: jobs that the pool's live workers take at once. running: the seconds that each attempt still takes, of
    some; at_work: how many there are. tiers: the first is served first."""

    slots: int
    running: Sequence[float]
    at_work: int
    tiers: Sequence[Sequence[Waiting]]


@dataclass(frozen=True)
class Curve:
    """levels[n] is reached seconds[n] from the snapshot; both rise."""

    levels: tuple[float, ...]
    seconds: tuple[float, ...]

    def seconds_at(self, level: float) -> float:
        """When the level is reached. What is beyond the last one, is not queued yet: as fast as the last stretch."""
        if level <= self.levels[0]:
            return self.seconds[0]
        at = min(bisect_left(self.levels, level), len(self.levels) - 1)
        if at == 0:
            return self.seconds[0]
        step = self.levels[at] - self.levels[at - 1]
        pace = (self.seconds[at] - self.seconds[at - 1]) / step
        return self.seconds[at - 1] + (level - self.levels[at - 1]) * pace


@dataclass(frozen=True)
class LineForecast:
    """What is foretold to one tenant in a line, at_ms. start_ratios, finish_ratios: outcomes over predictions in
    the pool."""

    at_ms: int
    curve: Curve
    waiting: Waiting
    start_ratios: Sequence[float]
    finish_ratios: Sequence[float]


def start_s(curve: Curve, tenant: Waiting, ahead_s: float) -> float:
    """Seconds from the snapshot until the turn of a job that has ahead_s of its own tenant's before it."""
    return curve.seconds_at(tenant.time + ahead_s / tenant.weight)


def curves(snapshot: Snapshot) -> list[Curve | None]:
    """One for each tier; None where nothing waits, or no worker is there to wait for."""
    found: list[Curve | None] = []
    above_s = 0.0
    free = _free_times(snapshot)
    for tier in snapshot.tiers:
        waiting = [one for one in tier if one.queued_s > 0]
        found.append(_curve(waiting, above_s, free) if waiting and free else None)
        above_s += sum(one.queued_s for one in waiting)
    return found


def _free_times(snapshot: Snapshot) -> list[float]:
    """When each slot is free, the first first. Of attempts that were not looked at, those that were are typical."""
    running = sorted(snapshot.running)
    busy = min(snapshot.at_work, snapshot.slots)
    times = [running[n * len(running) // busy] for n in range(busy)] if running else []
    return sorted([0.0] * (snapshot.slots - len(times)) + times)


def _curve(waiting: Sequence[Waiting], above_s: float, free: Sequence[float]) -> Curve:
    changes = sorted(
        change
        for one in waiting
        for change in ((one.time, one.weight), (one.time + one.queued_s / one.weight, -one.weight))
    )
    levels, work, active = [changes[0][0]], [0.0], 0.0
    for (level, weight), (after, _) in pairwise(changes):
        active += weight
        if after > level:
            levels.append(after)
            work.append(work[-1] + active * (after - level))
    step = max(1, len(levels) // _POINTS)
    kept = [n for n in range(len(levels)) if n % step == 0 or n == len(levels) - 1]
    return Curve(tuple(levels[n] for n in kept), tuple(_seconds_for(above_s + work[n], free) for n in kept))


def _seconds_for(work_s: float, free: Sequence[float]) -> float:
    """When so many GPU-seconds have been begun, of slots that are free from these times on."""
    done, freed = 0.0, 0
    for freed, (now, then) in enumerate(pairwise(free), 1):
        if done + freed * (then - now) >= work_s:
            return now + (work_s - done) / freed
        done += freed * (then - now)
    return free[-1] + (work_s - done) / (freed + 1)
