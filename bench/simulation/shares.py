"""What was each tenant's, hour by hour, and what it got."""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from bench.simulation.bound import work_s
from bench.simulation.farm import Simulated
from bench.simulation.trace import Run, Trace
from farm.jobs.states import Tier

HOUR_S = 3600.0


@dataclass(frozen=True)
class Hour:
    """GPU-seconds: of all workers that were busy, and of each tenant with jobs that are not economy, what was its own
    and what it got."""

    total: float
    own: dict[str, float]
    got: dict[str, float]

    @property
    def shortfall(self) -> float:
        """Of the tenant that is farthest below its own, as a part of all."""
        return max((self.own[tenant] - self.got[tenant]) / self.total for tenant in self.own)

    @property
    def jain(self) -> float:
        """Jain's index of what tenants got over what was their own."""
        parts = [self.got[tenant] / own for tenant, own in self.own.items() if own > 0]
        return sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))


def busy_hours(out: Simulated) -> Iterator[Hour]:
    """Each hour in which nine tenths of the GPUs' time went into jobs, of two tenants and more."""
    trace, all_runs = out.trace, _GpuSeconds(out.runs)
    runs = {tenant: _GpuSeconds(run for run in out.runs if run.shot.tenant == tenant) for tenant in trace.tenants}
    for hour in range(math.ceil(max(out.ended.values()) / HOUR_S)):
        begin_s, until_s = hour * HOUR_S, (hour + 1) * HOUR_S
        total = all_runs.between(begin_s, until_s)
        wanted: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
        for shot in trace.shots:
            first, last = max(begin_s, shot.at_s), min(until_s, out.ended[shot.name])
            if first < last and shot.tier is not Tier.ECONOMY:
                wanted[shot.tenant][first] += min(last - first, work_s(shot))
        if len(wanted) < 2 or total < 0.9 * HOUR_S * trace.gpus:
            continue
        got = {tenant: runs[tenant].between(begin_s, until_s) for tenant in wanted}
        for tenant, at in wanted.items():
            # what it got for loads is its own too
            at[min(at)] += max(0.0, got[tenant] - sum(at.values()))
        yield Hour(total, _own(trace, wanted, all_runs, until_s), got)


def _own(trace: Trace, wanted: dict[str, dict[float, float]], runs: "_GpuSeconds", until_s: float) -> dict[str, float]:
    """What a farm that can split every GPU would give each tenant, where it shares at each moment what the real one
    gave to all. wanted: tenant -> time -> GPU-seconds that it wants from then on; nobody is owed a share of a time in
    which it wanted nothing."""
    own, open_ = dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, 0.0)
    for from_s, to_s in pairwise([*sorted({at_s for at in wanted.values() for at_s in at}), until_s]):
        for tenant, at in wanted.items():
            open_[tenant] += at.get(from_s, 0.0)
        for tenant, gpu_s in water_filled(open_, trace, runs.between(from_s, to_s)).items():
            own[tenant] += gpu_s
            open_[tenant] -= gpu_s
    return own


def water_filled(demand: dict[str, float], trace: Trace, total: float) -> dict[str, float]:
    """`total` shared by weight, nobody more than its demand."""
    given, left, open_ = dict.fromkeys(demand, 0.0), min(total, sum(demand.values())), set(demand)
    while open_ and left > 1e-6:
        weight = sum(trace.weights.get(t, 1.0) for t in open_)
        part = {t: left * trace.weights.get(t, 1.0) / weight for t in open_}
        full = {t for t in open_ if demand[t] - given[t] <= part[t]}
        if not full:
            return {t: given[t] + part.get(t, 0.0) for t in demand}
        for t in full:
            left -= demand[t] - given[t]
            given[t] = demand[t]
        open_ -= full
    return given


class _GpuSeconds:
    """GPU-seconds of runs by time."""

    def __init__(self, runs: Iterable[Run]) -> None:
        ends = sorted(pair for run in runs for pair in ((run.began_s, 1), (run.ended_s, -1)))
        self.times, self.sums, self.counts = [0.0], [0.0], [0]
        for at_s, change in ends:
            self.sums.append(self.until(at_s))
            self.counts.append(self.counts[-1] + change)
            self.times.append(at_s)

    def until(self, at_s: float) -> float:
        n = bisect_right(self.times, at_s) - 1
        return self.sums[n] + self.counts[n] * (at_s - self.times[n])

    def between(self, from_s: float, to_s: float) -> float:
        return self.until(to_s) - self.until(from_s)
