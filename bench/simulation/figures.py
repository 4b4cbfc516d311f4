"""What an outcome is worth: one number for each column."""

import statistics
from dataclasses import dataclass

from bench.simulation.bound import lower_bound_s
from bench.simulation.farm import Simulated
from bench.simulation.shares import busy_hours
from bench.simulation.trace import LOAD_S


@dataclass(frozen=True)
class Figures:
    """makespan: over its lower bound. shortfall: the worst of a tenant below what was its own in an hour, over
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
    hours = list(busy_hours(out))
    watched = [shot for shot in trace.shots if not trace.small or shot.tenant in trace.small]
    waits = sorted(out.started[shot.name] - shot.at_s for shot in watched if shot.name in out.started)
    dated = [shot for shot in trace.shots if shot.deadline_s is not None]
    met = sum(out.ended[shot.name] <= (shot.deadline_s or 0) for shot in dated)
    return Figures(
        makespan=end_s / lower_bound_s(trace),
        shortfall=max((hour.shortfall for hour in hours), default=0.0),
        ratio=max(_ratio(out, tenant) for tenant in trace.tenants),
        jain=statistics.fmean(hour.jain for hour in hours) if hours else 1.0,
        p50_s=waits[len(waits) // 2],
        p95_s=waits[int(len(waits) * 0.95)],
        deadlines=met / len(dated) if dated else 1.0,
        loads=out.loads,
        idle_s=out.idle_s,
    )


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
