"""In which order a tenant's jobs start where they need several lanes: a worker goes on with the lane that it has
loaded, within bounds (lua/claim.lua). The first jobs of each queue are followed one by one, a few times, since which
worker is free first is chance. Pure."""

import heapq
import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

#: points that are kept of a lane's jobs
_POINTS = 24
#: times that the queues are followed, and claims that are followed in all
_TRIALS, _CLAIMS = 8, 4000
#: parts by which a render, and what is left of one, differ from what is expected of them in such a trial
_RENDER, _LEFT = 0.1, 0.2


@dataclass(frozen=True)
class FrontJob:
    """A queued job as it stands in its tenant's queue: what it takes, s, and how often it was passed over."""

    lane: str
    seconds: float
    priority: int = 5
    passes: int = 0


@dataclass(frozen=True)
class OrderRule:
    """Among how many of the first jobs of one priority the loaded lane is preferred, and how often a job is passed over
    for that. load_s: what another model costs."""

    window: int
    passes: int
    load_s: float = 0.0


@dataclass(frozen=True)
class Front:
    """The first jobs of the `queued` ones of a tenant, its virtual time and its weight."""

    jobs: Sequence[FrontJob]
    time: float
    weight: float
    queued: int


#: (rank, GPU-seconds of its tenant's jobs that start before the one of this rank), the ranks rising
Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Turns:
    """When jobs of one tenant have their turn among its own. plain: what stands before them; lanes: what starts before
    those of a lane, where there are several."""

    plain: Points = ()
    lanes: Mapping[str, Points] = field(default_factory=dict)

    def before_s(self, rank: int, mean_s: float) -> float:
        """GPU-seconds that stand before the job of this rank; mean_s: of one job, where it was not looked at."""
        return _at(self.plain, rank, mean_s)

    def moved_s(self, lane: str, rank: int, mean_s: float) -> float:
        """By how much more of its own starts before it than stands before it: less than 0 for a lane that is loaded."""
        points = self.lanes.get(lane)
        return _at(points, rank, mean_s) - self.before_s(rank, mean_s) if points else 0.0


def own_turns(fronts: Mapping[str, Front], workers: Sequence[tuple[float, str]], rule: OrderRule) -> dict[str, Turns]:
    """Of each tenant. workers: when each slot is free, s from now, and its lane."""
    begun: dict[str, list[list[float]]] = {tenant: [[] for _ in front.jobs] for tenant, front in fronts.items()}
    if len({job.lane for front in fronts.values() for job in front.jobs}) > 1:
        chance = random.Random(1)  # noqa: S311 - the same each time, for equal forecasts of equal queues
        for _ in range(max(1, min(_TRIALS, _CLAIMS // sum(map(len, begun.values()))))):
            for tenant, rank, before_s in _followed(fronts, workers, rule, chance):
                begun[tenant][rank].append(before_s)
    return {tenant: _turns(front, begun[tenant], rule) for tenant, front in fronts.items()}


@dataclass
class _Left:
    rank: int
    job: FrontJob
    passes: int


def _followed(
    fronts: Mapping[str, Front], workers: Sequence[tuple[float, str]], rule: OrderRule, chance: random.Random
) -> list[tuple[str, int, float]]:
    """Claim by claim: tenant, rank, and GPU-seconds of the tenant's that started before."""
    left = {name: [_Left(n, job, job.passes) for n, job in enumerate(front.jobs)] for name, front in fronts.items()}
    begun_s = dict.fromkeys(fronts, 0.0)
    turns = [(front.time, name) for name, front in fronts.items() if front.jobs]
    slots = [(free_s * chance.uniform(1 - _LEFT, 1 + _LEFT), n, lane) for n, (free_s, lane) in enumerate(workers)]
    heapq.heapify(turns)
    heapq.heapify(slots)
    found = []
    while turns and slots:
        (now_s, n, loaded), (time, name) = slots[0], turns[0]
        one = left[name].pop(_chosen(left[name], loaded, rule))
        found.append((name, one.rank, begun_s[name]))
        begun_s[name] += one.job.seconds
        takes_s = one.job.seconds * chance.gauss(1.0, _RENDER) + (one.job.lane != loaded) * rule.load_s
        heapq.heapreplace(slots, (now_s + takes_s, n, one.job.lane))
        if left[name]:
            heapq.heapreplace(turns, (time + one.job.seconds / fronts[name].weight, name))
        else:
            heapq.heappop(turns)
    return found


def _chosen(left: Sequence[_Left], loaded: str, rule: OrderRule) -> int:
    """The place of the job that a worker with this lane takes; those that it passes over are counted."""
    taken = _preferred(left, loaded, rule)
    for one in left[:taken]:
        one.passes += 1
    return taken


def _preferred(left: Sequence[_Left], loaded: str, rule: OrderRule) -> int:
    model, other = _model(loaded), None
    for at, one in enumerate(left[: rule.window]):
        if one.job.priority != left[0].job.priority:
            break
        if one.job.lane == loaded:
            return at
        if other is None and model and _model(one.job.lane) == model:
            other = at
        if one.passes >= rule.passes:
            break
    return other or 0


def _model(lane: str) -> str:
    # what has to be loaded of a lane: LoRAs, which follow, are changed in a moment
    return lane.partition("+")[0]


def _turns(front: Front, begun: Sequence[Sequence[float]], rule: OrderRule) -> Turns:
    total_s, plain = 0.0, []
    for rank, job in enumerate(front.jobs):
        plain.append((rank, total_s))
        total_s += job.seconds
    plain.append((len(front.jobs), total_s))
    # of the last ones it is not known what would have passed them
    known = len(front.jobs) - (rule.window if front.queued > len(front.jobs) else 0)
    lanes: dict[str, list[tuple[int, float]]] = {}
    for rank, (job, before_s) in enumerate(zip(front.jobs, begun, strict=True)):
        if rank < known and before_s:
            lanes.setdefault(job.lane, []).append((rank, fmean(before_s)))
    several = {lane: _thinned(points) for lane, points in lanes.items()} if len(lanes) > 1 else {}
    return Turns(_thinned(plain), several)


def _thinned(points: Points) -> Points:
    """Some of them, the first and the last among them."""
    if len(points) <= _POINTS:
        return tuple(points)
    return tuple(points[n * (len(points) - 1) // (_POINTS - 1)] for n in range(_POINTS))


def _at(points: Points, rank: int, mean_s: float) -> float:
    at = bisect_left(points, rank, key=lambda point: point[0])
    if 0 < at < len(points):
        (low, low_s), (high, high_s) = points[at - 1], points[at]
        return low_s + (high_s - low_s) * (rank - low) / (high - low)
    # what was not looked at is like all
    near, near_s = points[min(at, len(points) - 1)] if points else (0, 0.0)
    return max(0.0, near_s + (rank - near) * mean_s)
