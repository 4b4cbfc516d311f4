"""Why a job waits, in the farm's own JSON: which limit binds, under which rule, and what would change it. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from farm.jobs.job import Job
from farm.jobs.standing import Limit, Standing
from farm.jobs.states import TERMINAL, HoldReason, State, Tier
from farm.scheduling.offers import Takers
from farm.wire.own_views import ForecastView, View, moment


class Binds(StrEnum):
    """What keeps a job from starting. NOTHING: it runs, or is over, or is next."""

    NOTHING = "nothing"
    INTAKE = "intake"
    HELD = "held"
    BACKOFF = "backoff"
    TENANT_PAUSED = "tenant_paused"
    POOL_PAUSED = "pool_paused"
    LANE_PAUSED = "lane_paused"
    CAP = "cap"
    POOL_CAP = "pool_cap"
    HEADROOM = "headroom"
    LOCKED = "locked"
    POOL = "pool"
    LANE = "lane"
    MEMORY = "memory"
    TIER = "tier"
    SHARE = "share"
    OWN_JOBS = "own_jobs"
    WORKERS = "workers"


#: what binds -> (under which rule, what would change it)
_WORDS: dict[Binds, tuple[str, str]] = {
    Binds.NOTHING: ("it is next", ""),
    Binds.INTAKE: ("a job is queued when its inputs were fetched and checked", "the end of its intake"),
    Binds.BACKOFF: ("after a failed attempt a job waits before it is tried again", "the end of that wait"),
    Binds.TENANT_PAUSED: ("an operator paused all of your jobs", "an operator resumes them"),
    Binds.POOL_PAUSED: ("an operator paused the pool", "an operator resumes it"),
    Binds.LANE_PAUSED: ("an operator paused its model or lane", "an operator resumes it"),
    Binds.CAP: ("so many of your jobs may be at work here at once", "one of your running jobs ends, or a higher cap"),
    Binds.POOL_CAP: ("so many of your jobs may be at work in this pool", "one of them ends, or a higher cap"),
    Binds.HEADROOM: (
        "the pool keeps some slots for tenants below their share, and you have yours",
        "one of your running jobs ends, or more workers",
    ),
    Binds.LOCKED: (
        "an operator locked every worker of the pool that could render it",
        "an operator resumes one, or another worker starts",
    ),
    Binds.POOL: ("a job runs on a worker of its pool", "a worker of the pool starts"),
    Binds.LANE: ("a job runs where its model is offered", "a worker that offers the model starts"),
    Binds.MEMORY: ("a job runs on a worker whose memory holds it", "a worker with more memory, or a smaller shape"),
    Binds.TIER: ("a higher tier goes first", "the jobs above end, or the job becomes normal near its deadline"),
    Binds.SHARE: ("tenants take turns by GPU-seconds per weight", "others' jobs before it end, or a larger weight"),
    Binds.OWN_JOBS: (
        "among your own: priority, then deadline, then age",
        "a higher priority, or the end of those before",
    ),
    Binds.WORKERS: ("every worker of the pool is busy", "a render ends, or more workers"),
}


#: what nothing but somebody's act or another worker ends
_STANDS_STILL = frozenset(
    {Binds.TENANT_PAUSED, Binds.POOL_PAUSED, Binds.LANE_PAUSED, Binds.LOCKED, Binds.POOL, Binds.LANE, Binds.MEMORY}
)
#: ids of jobs that a sentence names
_SHOWN = 3


class AheadView(View):
    """Predicted GPU-seconds that are served before the job, if nothing changes: of yours, and of all others together.
    own_exact: false where there is at least so much."""

    own: float
    own_exact: bool
    others: float


class ExternalView(View):
    """What was decided last about buying the job. verdict: bought; would_buy, on a farm that only tries; waits, where
    it would be bought and cannot be now; parked, where that is a shortage that all jobs share (too many requests, no
    credit, maintenance): `why` says until when, and a GPU of the farm's own may take it all the same; stays, where
    nobody may or can render it elsewhere. numbers: what it was decided with, in seconds and US dollars."""

    verdict: str
    why: str
    numbers: dict[str, float | None] = Field(default_factory=dict)
    provider: str | None = None


class ExplainView(View):
    """Why a job does not run yet. `ahead_gpu_s`, `position` and `forecast` while it is queued. `running`: attempts of
    anybody at the pool's workers, which render `capacity` at once and prepare and store others meanwhile."""

    object: Literal["explanation"] = "explanation"
    job: str
    state: State
    tier: Tier
    binds: Binds
    rule: str
    would_change: str
    held_for: list[HoldReason] = Field(default_factory=list)
    not_before: datetime | None = None
    position: int | None = None
    ahead_gpu_s: AheadView | None = None
    forecast: ForecastView | None = None
    pool: str
    running: int
    capacity: int
    external: ExternalView | None = None


def external(decision: Mapping[str, Any] | None) -> ExternalView | None:
    """What the burst process kept (farm.burst.buyer), for its owner."""
    if decision is None:
        return None
    known = {name: decision[name] for name in ExternalView.model_fields if name in decision}
    return ExternalView.model_validate(known)


def explain(
    job: Job,
    standing: Standing,
    *,
    takers: Takers,
    forecast: ForecastView | None = None,
    cap: int | None = None,
    follows: Sequence[str] = (),
) -> ExplainView:
    """`takers`: the live workers that could render the job. `cap`: what the cap that binds is. `follows`: ids of
    the jobs that it waits for."""
    binds = _binds(job, standing, takers)
    rule, change = _said(job, binds, cap, follows)
    queued = job.position is not None
    return ExplainView(
        job=job.id,
        state=job.state,
        tier=job.tier,
        binds=binds,
        rule=rule,
        would_change=change,
        held_for=[] if job.state in TERMINAL else list(job.held_for),
        not_before=None if job.not_before_ms is None else moment(job.not_before_ms),
        position=job.position,
        ahead_gpu_s=AheadView(
            own=round(standing.own_s, 3), own_exact=standing.own_exact, others=round(standing.others_s, 3)
        )
        if queued
        else None,
        # of what does not move nothing is foretold, whatever else keeps it back first
        forecast=None if binds in _STANDS_STILL or not takers.open else forecast,
        pool=job.pool,
        running=standing.running,
        capacity=standing.capacity,
    )


def _said(job: Job, binds: Binds, cap: int | None, follows: Sequence[str]) -> tuple[str, str]:
    """The rule and what would change it, with the numbers and names of this job."""
    if binds is Binds.HELD:
        said = [_held(job, reason, follows) for reason in job.held_for]
        return "; ".join(rule for rule, _ in said), "; ".join(change for _, change in said)
    if binds is Binds.NOTHING and job.state is not State.QUEUED:
        return _begun(job), ""
    if cap is not None and binds in (Binds.CAP, Binds.POOL_CAP):
        where = f" in the pool {job.pool}" if binds is Binds.POOL_CAP else ""
        rule = f"at most {cap} of your jobs may be at work{where} at once; a bought one does not count"
        return rule, "one of them ends, or a higher cap"
    if binds is Binds.POOL:
        return f"a job runs on a worker of its pool, {job.pool}", "a worker of it starts, or an operator moves the job"
    return _WORDS[binds]


def _begun(job: Job) -> str:
    """What becomes of a job that waits no more."""
    if job.state in TERMINAL:
        return f"it is over: {job.error_message or job.state}"
    return "it was cancelled, and is being stopped" if job.cancelling else "it is at work"


def _held(job: Job, reason: HoldReason, follows: Sequence[str]) -> tuple[str, str]:
    def by_act(act: str) -> str:
        return f"wanfarm batches {act} {job.batch}, or the console" if job.batch else f"{act} it in the console"

    if reason is HoldReason.DEPENDENCY:
        shown = ", ".join(follows[:_SHOWN]) + (f" and {len(follows) - _SHOWN} more" if len(follows) > _SHOWN else "")
        return f"it follows {shown or 'another job'}", "the end of what it follows"
    return {
        HoldReason.APPROVAL: ("it is held until somebody approves it", by_act("approve")),
        HoldReason.PAUSED: ("it is paused", by_act("resume")),
        HoldReason.PARKED: ("what it needs is not to be had now", "it goes on by itself when that is over"),
    }[reason]


def _binds(job: Job, standing: Standing, takers: Takers) -> Binds:
    if job.held:
        return Binds.HELD
    if job.state is State.WAITING:
        return Binds.INTAKE
    if job.state is not State.QUEUED:
        return Binds.NOTHING
    limits = {Limit.PAUSED: Binds.TENANT_PAUSED, Limit.CAP: Binds.CAP, Limit.POOL_CAP: Binds.POOL_CAP}
    limits[Limit.HEADROOM] = Binds.HEADROOM
    # the first of these that holds would keep it back although all that follow were gone
    reasons = {
        Binds.BACKOFF: job.position is None,
        Binds.POOL_PAUSED: standing.pool_paused,
        Binds.LANE_PAUSED: standing.lane_paused,
        limits.get(standing.limit, Binds.CAP) if standing.limit else Binds.CAP: standing.limit is not None,
        Binds.LOCKED: (takers.holding > 0 and not takers.open) or (standing.capacity == 0 and standing.locked > 0),
        Binds.POOL: standing.capacity == 0,
        Binds.LANE: not takers.offering,
        Binds.MEMORY: not (standing.fits and takers.held),
        Binds.TIER: standing.above_s > 0,
        Binds.OWN_JOBS: standing.own_s > standing.others_s,
        Binds.SHARE: standing.others_s > 0,
        Binds.WORKERS: standing.running >= standing.capacity,
    }
    return next((binds for binds, holds in reasons.items() if holds), Binds.NOTHING)
