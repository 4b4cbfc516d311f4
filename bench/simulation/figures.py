"""What an outcome is worth: one number for each column."""

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass

from bench.simulation.farm import POISON_PART, Simulated
from bench.simulation.policy import ATTEMPTS
from bench.simulation.trace import LOAD_S, Trace, TraceShot
from farm.jobs.states import Tier

HOUR_S = 3600.0


@dataclass(frozen=True)
class Figures:
    """makespan: over its lower bound. shortfall: the worst of a tenant below its demand-capped share in an hour, over
    the hour's GPU-seconds. ratio: the worst finish-time ratio, shared over a farm of one's own of that weight's size.
    jain: the mean over busy hours. p50_s, p95_s: the waiting of small tenants' shots (all, where a trace names none).
    deadlines: part that was met. idle_s: idle while eligible."""

    makespan: float
    shortfall: float
    ratio: float
    jain: float
    p50_s: float
    p95_s: float
    deadlines: float
    loads: int
    idle_s: float


def figures(out: Simulated) -> Figures:
    trace = out.trace
    end_s = max(out.ended.values())
    shortfalls, jains = _shares(out, end_s)
    watched = [shot for shot in trace.shots if not trace.small or shot.tenant in trace.small]
    waits = sorted(out.started[shot.name] - shot.at_s for shot in watched if shot.name in out.started)
    dated = [shot for shot in trace.shots if shot.deadline_s is not None]
    met = sum(out.ended[shot.name] <= (shot.deadline_s or 0) for shot in dated)
    return Figures(
        makespan=end_s / lower_bound_s(trace),
        shortfall=max(shortfalls, default=0.0),
        ratio=max(_ratio(out, tenant) for tenant in trace.tenants),
        jain=statistics.fmean(jains) if jains else 1.0,
        p50_s=waits[len(waits) // 2],
        p95_s=waits[int(len(waits) * 0.95)],
        deadlines=met / len(dated) if dated else 1.0,
        loads=out.loads,
        idle_s=out.idle_s,
    )


def lower_bound_s(trace: Trace) -> float:
    """No schedule ends sooner: what arrives from some time on must be rendered after it, by all GPUs or, of large
    shots, by the large ones; and the first shot of a GPU waits for its model."""
    best = 0.0
    for shots, gpus in ((trace.shots, trace.gpus), ([s for s in trace.shots if s.large], sum(trace.large))):
        left_s, first_arrival = 0.0, True
        for shot in sorted(shots, key=lambda shot: -shot.at_s):
            left_s += _work_s(shot)
            best = max(best, shot.at_s + left_s / gpus, shot.at_s + _work_s(shot))
            first_arrival = shot.at_s == 0
        if first_arrival and shots:
            best = max(best, LOAD_S + left_s / gpus)
    return best


def _work_s(shot: TraceShot) -> float:
    return shot.true_s * (ATTEMPTS * POISON_PART if shot.poison else 1.0)


def _shares(out: Simulated, end_s: float) -> tuple[list[float], list[float]]:
    """Of each hour in which the GPUs were busy, among tenants whose jobs are not economy: the worst shortfall, and
    Jain's index of what tenants got over what was theirs."""
    trace, shortfalls, jains = out.trace, [], []
    runs = defaultdict(list)
    for run in out.runs:
        runs[run.shot.tenant].append(run)
    for begin_s in range(0, math.ceil(end_s), int(HOUR_S)):
        until_s = begin_s + HOUR_S
        demand: dict[str, float] = defaultdict(float)
        for shot in trace.shots:
            first, last = max(begin_s, shot.at_s), min(until_s, out.ended[shot.name])
            if first < last and not shot.poison and shot.tier is not Tier.ECONOMY:
                demand[shot.tenant] += min(last - first, shot.true_s)
        got = {
            tenant: sum(max(0.0, min(until_s, run.ended_s) - max(begin_s, run.began_s)) for run in runs[tenant])
            for tenant in demand
        }
        total = sum(max(0.0, min(until_s, run.ended_s) - max(begin_s, run.began_s)) for run in out.runs)
        if len(demand) < 2 or total < 0.9 * HOUR_S * trace.gpus:
            continue
        ideal = water_filled({t: max(demand[t], got[t]) for t in demand}, trace, total)
        shortfalls.append(max((ideal[t] - got[t]) / total for t in demand))
        parts = [got[t] / ideal[t] for t in demand if ideal[t] > 0]
        jains.append(sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts)))
    return shortfalls, jains


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


def _ratio(out: Simulated, tenant: str) -> float:
    """When the tenant's last shot ended, over when it would have on GPUs of its own, as many as its weight is worth (a
    fluid, which no real farm is faster than)."""
    trace = out.trace
    shots = [shot for shot in trace.shots if shot.tenant == tenant and not shot.poison]
    if not shots:
        return 0.0
    part = trace.weights.get(tenant, 1.0) / sum(trace.weights.get(t, 1.0) for t in trace.tenants)
    gpus, free_s = part * trace.gpus, 0.0
    for shot in sorted(shots, key=lambda shot: shot.at_s):
        free_s = max(free_s, shot.at_s) + shot.true_s / gpus
    first = min(shot.at_s for shot in shots)
    alone_s = max(free_s, *(shot.at_s + shot.true_s for shot in shots)) + LOAD_S
    return (max(out.ended[shot.name] for shot in shots) - first) / (alone_s - first)
