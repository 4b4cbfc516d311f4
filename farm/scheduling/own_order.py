"""The order in which the jobs of one tenant start where they need several lanes; and, where few jobs wait, when each of
them starts. It is found by simulating the claims of the first jobs of each queue (farm.scheduling.claims_ahead),
several times, since it is chance which worker is free first. Pure."""

import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from farm.scheduling.claims_ahead import Claimed, ClaimsAhead, FreeSlot, Front, OrderRule

#: points that are kept of a lane's jobs
_POINTS = 24
#: simulations, and claims of all of them together
_TRIALS, _CLAIMS = 8, 4000

#: (rank, GPU-seconds of its tenant's jobs that start before the one of this rank), the ranks rising
Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Turns:
    """How much of a tenant's own work starts before each of its jobs.

    plain     by their places in the queue
    lanes     lane -> the same of its jobs, with the claim rule's preference for loaded lanes; empty for a single lane
    starts_s  when each job starts, s from now; only where the whole line was simulated
    """

    plain: Points = ()
    lanes: Mapping[str, Points] = field(default_factory=dict)
    starts_s: Sequence[float] = ()

    def before_s(self, rank: int, mean_s: float) -> float:
        """GPU-seconds that stand before the job of this rank; mean_s: of one job, where it was not looked at."""
        return _at(self.plain, rank, mean_s)

    def moved_s(self, lane: str, rank: int, mean_s: float) -> float:
        """GPU-seconds of its own that start before this job, less those that stand before it in the queue: below 0 for
        a lane that is loaded."""
        points = self.lanes.get(lane)
        return _at(points, rank, mean_s) - self.before_s(rank, mean_s) if points else 0.0


def own_turns(
    fronts: Mapping[str, Front], slots: Sequence[FreeSlot], rule: OrderRule, whole: bool = False
) -> dict[str, Turns]:
    """Tenant -> its turns. whole: `fronts` are all jobs that wait in the line, and no tier above has any."""
    begun: dict[str, list[list[Claimed]]] = {tenant: [[] for _ in front.jobs] for tenant, front in fronts.items()}
    if whole or len({job.lane for front in fronts.values() for job in front.jobs}) > 1:
        chance = random.Random(1)  # noqa: S311 - the same each time, for equal forecasts of equal queues
        for _ in range(max(1, min(_TRIALS, _CLAIMS // sum(map(len, begun.values()))))):
            for one in ClaimsAhead(fronts, slots, rule, chance).followed():
                begun[one.tenant][one.rank].append(one)
    return {tenant: _turns(front, begun[tenant], rule, whole) for tenant, front in fronts.items()}


def _turns(front: Front, begun: Sequence[Sequence[Claimed]], rule: OrderRule, whole: bool) -> Turns:
    total_s, plain = 0.0, []
    for rank, job in enumerate(front.jobs):
        plain.append((rank, total_s))
        total_s += job.seconds
    plain.append((len(front.jobs), total_s))
    # of the last ones it is not known what would have passed them
    known = len(front.jobs) - (rule.window if front.queued > len(front.jobs) else 0)
    lanes: dict[str, list[tuple[int, float]]] = {}
    for rank, (job, seen) in enumerate(zip(front.jobs, begun, strict=True)):
        if rank < known and seen:
            lanes.setdefault(job.lane, []).append((rank, fmean(one.before_s for one in seen)))
    several = {lane: _thinned(points) for lane, points in lanes.items()} if len(lanes) > 1 else {}
    starts_s = tuple(fmean(one.at_s for one in seen) for seen in begun if seen) if whole else ()
    return Turns(_thinned(plain), several, starts_s)


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
