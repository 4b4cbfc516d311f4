"""When a queued job starts: a forward simulation of the claim rule on a snapshot of the queues. Pure.

The claim rule serves the tenant with the least virtual time. So within a tier there is a level, a virtual time up to
which every tenant has been served, and it rises. One curve for each tier, level -> seconds from now, is enough for
every job in it: where `ahead_s` GPU-seconds of its own tenant's jobs stand before a job, its turn comes at the level
time + ahead_s / weight, `time` being its tenant's virtual time now.

Tenants are served as if their work could be divided at will; slots take whole jobs. So what stands before a job has to
have started when it starts, not to have ended."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from farm.jobs.states import Tier
from farm.scheduling.claims_ahead import LAST_MOST, FreeSlot, Front, FrontJob, OrderRule
from farm.scheduling.own_order import Turns, own_turns
from farm.scheduling.pace import Pace, Paces, RunningRender
from farm.scheduling.prediction import ALLOWANCE_S
from farm.scheduling.progress import LineProgress

#: points that are kept of a curve: where a tenant's work begins or ends, in the slots' first rounds, evenly over all
_CHANGES, _ROUNDS, _WHOLE = 40, 32, 24
#: slots that are looked at one by one; of more, each of these stands for several
_SLOTS = 128
#: beyond its end a curve goes on as steeply as in the last of so many equal parts
_STRETCHES = 64


@dataclass(frozen=True)
class Waiting:
    """A tenant in a line: its virtual time and weight, and the GPU-seconds and jobs that it has queued. `one`: a job of
    it, with its predicted seconds and its place (0: the next)."""

    tenant: str
    time: float
    weight: float
    queued_s: float
    queued: int
    one: str = ""
    one_s: float = 0.0
    one_rank: int = 0
    one_lane: str = ""
    turns: Turns = field(default_factory=Turns)

    @property
    def mean_s(self) -> float:
        """GPU-seconds of one of its jobs, on average."""
        return self.queued_s / max(1, self.queued)

    def ahead_of(self, rank: int, lane: str = "") -> float:
        """GPU-seconds of its jobs that are served before the one with so many before it."""
        return self.turns.before_s(rank, self.mean_s) + self.moved_s(rank, lane)

    def moved_s(self, rank: int, lane: str) -> float:
        """By how much that differs from the GPU-seconds that stand before it in the queue: more than 0 where others
        pass it."""
        return self.turns.moved_s(lane, rank, self.mean_s)


@dataclass(frozen=True)
class Snapshot:
    """slots: jobs that the pool's live workers take at once. running: the seconds that each attempt still takes, of
    some; at_work: how many there are. tiers: the first is served first. attempts: those of `running`, where they are
    known."""

    slots: int
    running: Sequence[float]
    at_work: int
    tiers: Sequence[Sequence[Waiting]]
    attempts: Sequence[RunningRender] = ()

    def paced(self, paces: Paces) -> "Snapshot":
        """The same with the seconds that renders of each tenant really take, instead of the predicted ones."""
        #: what is charged when they end, besides what was charged when they began
        due_s: dict[tuple[str, str], float] = defaultdict(float)
        for one in self.attempts:
            due_s[one.tier, one.tenant] += (paces.of(one.tenant).level - 1) * one.predicted_s

        def paced(tier: Tier, one: Waiting) -> Waiting:
            level = paces.of(one.tenant).level
            time = one.time + due_s[tier, one.tenant] / one.weight
            return replace(one, time=time, queued_s=level * one.queued_s, one_s=level * one.one_s)

        tiers = [[paced(tier, one) for one in line] for tier, line in zip(Tier, self.tiers, strict=True)]
        running = [paces.remaining_s(one) for one in self.attempts]
        return replace(self, tiers=tiers, running=running or self.running)

    def ordered(
        self, fronts: Mapping[tuple[str, str], Sequence[FrontJob]], paces: Paces, rule: OrderRule
    ) -> "Snapshot":
        """The same with the order in which each tenant's own jobs start. fronts: (tier, tenant) -> the first jobs of
        its queue, with their predicted seconds."""
        lanes = [one.lane for one in self.attempts][: self.slots]
        tenants = [one.tenant for one in self.attempts]
        idle = [FreeSlot(0.0)] * (self.slots - max(self.at_work, len(lanes)))
        workers = [*map(FreeSlot, self.running, lanes, tenants), *idle]

        def front(tier: Tier, one: Waiting) -> Front:
            level = paces.of(one.tenant).level
            jobs = [replace(job, seconds=level * job.seconds) for job in fronts[tier, one.tenant]]
            return Front(jobs, one.time, one.weight, one.queued, level)

        def with_turns(tier: Tier, line: Sequence[Waiting], above: int, below: int) -> list[Waiting]:
            known = {one.tenant: front(tier, one) for one in line if (tier, one.tenant) in fronts}
            seen = sum(len(one.jobs) for one in known.values())
            whole = not above and 0 < seen == _queued(line) <= LAST_MOST and len(workers) == self.slots
            turns = own_turns(known, workers, replace(rule, longest_last=whole and not below), whole)
            return [replace(one, turns=turns.get(one.tenant, one.turns)) for one in line]

        tiers, above = [], 0
        for tier, line in zip(Tier, self.tiers, strict=True):
            below = 0 if tier is Tier.ECONOMY else _queued(self.tiers[-1])
            tiers.append(with_turns(tier, line, above, below))
            above += _queued(line)
        return replace(self, tiers=tiers)


@dataclass(frozen=True)
class Curve:
    """levels[n] is reached seconds[n] from the snapshot; neither falls. mean_s: a job of those that wait; slot_s: from
    one slot that becomes free to the next, on average. Standard deviations: doubt, of all seconds, as a part of them;
    order_s, of a start, where jobs do not begin in their order. stretch: what `seconds` were multiplied by since."""

    levels: tuple[float, ...]
    seconds: tuple[float, ...]
    mean_s: float = 0.0
    slot_s: float = 0.0
    doubt: float = 0.0
    order_s: float = 0.0
    stretch: float = 1.0

    def corrected(self, seen: LineProgress) -> "Curve":
        """The same curve, corrected by how forecasts of this line have come true so far."""
        rate = seen.rate(self.mean_s)
        seconds = tuple(one / rate for one in self.seconds)
        doubt, order_s = seen.doubt(self.mean_s), seen.order_s(self.slot_s)
        return replace(self, seconds=seconds, doubt=doubt, order_s=order_s, stretch=1 / rate)

    def seconds_at(self, level: float) -> float:
        """When the level is reached, s from the snapshot. Beyond the last one nothing is queued yet: it goes on as
        steeply as in its last part."""
        if level <= self.levels[0]:
            return self.seconds[0]
        last = self.levels[-1]
        if level <= last:
            at = bisect_left(self.levels, level)
            below = at - 1
        else:
            # levels that rounding has made the same, or nearly, tell no pace
            at = len(self.levels) - 1
            below = bisect_right(self.levels, last - (last - self.levels[0]) / _STRETCHES) - 1
        step = self.levels[at] - self.levels[below]
        if step <= 0:
            return self.seconds[at]
        pace = (self.seconds[at] - self.seconds[below]) / step
        return self.seconds[below] + (level - self.levels[below]) * pace


@dataclass(frozen=True)
class LineForecast:
    """What a forecast of a line says to one tenant, as of at_ms. start_scores, finish_scores: how far predictions in
    the line were off (farm.scheduling.prediction)."""

    at_ms: int
    curve: Curve
    waiting: Waiting
    pace: Pace
    start_scores: Sequence[float]
    finish_scores: Sequence[float]

    def ahead_s(self, rank: int, lane: str, own_s: float | None = None) -> float:
        """GPU-seconds of the tenant's that are served before its job of this place and lane. own_s: what is predicted
        of those that stand before it, where that is known."""
        if own_s is None:
            return self.waiting.ahead_of(rank, lane)
        return max(0.0, self.pace.level * own_s + self.waiting.moved_s(rank, lane))


@dataclass(frozen=True)
class Expected:
    """When a job starts and ends, seconds from the snapshot, and the standard deviations of both."""

    start_s: float
    start_spread_s: float
    finish_s: float
    finish_spread_s: float


def expected(curve: Curve, pace: Pace, begins_s: float, job_s: float) -> Expected:
    """Of a job whose turn comes begins_s from the snapshot and that takes job_s, as its tenant's pace tells."""
    doubt, spread = pace.doubt / pace.level, pace.spread / pace.level
    order_s = min(curve.order_s, curve.slot_s + begins_s)
    # of so many renders that are added up, longer ones and shorter ones cancel out
    summed_s = spread * math.sqrt(begins_s * curve.slot_s)
    wait_s = math.hypot(ALLOWANCE_S, order_s, summed_s, begins_s * math.hypot(doubt, curve.doubt))
    return Expected(begins_s, wait_s, begins_s + job_s, math.hypot(wait_s, job_s * math.hypot(doubt, spread)))


def start_s(curve: Curve, tenant: Waiting, ahead_s: float, rank: int | None = None) -> float:
    """Seconds from the snapshot until the turn of a job that has ahead_s of its own tenant's before it. rank: its
    place, where that is as in the snapshot."""
    if rank is not None and rank < len(tenant.turns.starts_s):
        return curve.stretch * tenant.turns.starts_s[rank]
    return curve.seconds_at(tenant.time + ahead_s / tenant.weight)


def curves(snapshot: Snapshot) -> list[Curve | None]:
    """One for each tier; None where nothing waits, or no worker is there to wait for."""
    found: list[Curve | None] = []
    above_s = 0.0
    free = _free_times(snapshot)
    for tier in snapshot.tiers:
        waiting = [one for one in tier if one.queued_s > 0]
        found.append(_curve(waiting, above_s, _Slots(free, _mean_s(waiting))) if waiting and free else None)
        above_s += sum(one.queued_s for one in waiting)
    return found


def _queued(line: Sequence[Waiting]) -> int:
    return sum(one.queued for one in line)


def _free_times(snapshot: Snapshot) -> list[float]:
    """When each slot is free, the first first. Of attempts that were not looked at, those that were are typical."""
    running = sorted(snapshot.running)
    busy = min(snapshot.at_work, snapshot.slots)
    times = [running[n * len(running) // busy] for n in range(busy)] if running else []
    return sorted([0.0] * (snapshot.slots - len(times)) + times)


def _mean_s(waiting: Sequence[Waiting]) -> float:
    return max(1e-3, sum(one.queued_s for one in waiting) / max(1, sum(one.queued for one in waiting)))


class _Slots:
    """Slots that are free from these times on and take jobs of `mean_s`."""

    def __init__(self, free: Sequence[float], mean_s: float) -> None:
        self.mean_s, self.count = mean_s, len(free)
        kept = min(len(free), _SLOTS)
        #: some of the times, each for as many slots as `each`
        self._free = [free[(2 * n + 1) * len(free) // (2 * kept)] for n in range(kept)]
        self._each = len(free) / kept
        #: the sum of the first n of them
        self._summed = [0.0, *accumulate(self._free)]

    def _begun(self, now: float) -> float:
        """Jobs that have begun by then: one on each slot that is free, and half a job more than it has done where that
        is more."""
        free, longer = bisect_right(self._free, now), bisect_right(self._free, now - self.mean_s / 2)
        done = (longer * now - self._summed[longer]) / self.mean_s
        return self._each * (free - longer + done + longer / 2)

    def turn_s(self, work_s: float) -> float:
        """When a job starts that has so much before it."""
        wanted = work_s / self.mean_s + 0.5
        low, high = self._free[0], self._free[-1] + work_s / self.count + self.mean_s
        if self._begun(low) >= wanted:
            return low
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if self._begun(middle) >= wanted else (middle, high)
        return high


def _curve(waiting: Sequence[Waiting], above_s: float, slots: _Slots) -> Curve:
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
    asked = {work[n * (len(work) - 1) // _CHANGES] for n in range(_CHANGES + 1)}
    asked |= {work[-1] * n / _WHOLE for n in range(_WHOLE + 1)}
    # the slots' first rounds are no straight line
    asked |= {turn for n in range(_ROUNDS) if (turn := slots.count * slots.mean_s * n / 16 - above_s) > 0}
    kept = sorted(one for one in asked if one <= work[-1])
    return Curve(
        tuple(_level_at(one, levels, work) for one in kept),
        tuple(slots.turn_s(above_s + one) for one in kept),
        slots.mean_s,
        slots.mean_s / slots.count,
    )


def _level_at(done_s: float, levels: Sequence[float], work: Sequence[float]) -> float:
    """The level up to which so many GPU-seconds serve everybody."""
    at = min(bisect_left(work, done_s), len(work) - 1)
    if at == 0 or work[at] == work[at - 1]:
        return levels[at]
    return levels[at - 1] + (levels[at] - levels[at - 1]) * (done_s - work[at - 1]) / (work[at] - work[at - 1])
