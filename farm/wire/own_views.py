"""The farm's own JSON, answering: what the owner of a job sees, and the farm's other resources. Pure.

Times are ISO 8601 in UTC. A client ignores fields that it does not know: the farm may be newer than it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from farm.jobs.errors import FaultCode
from farm.jobs.job import Artifacts, Job, NewJob
from farm.jobs.money import MICRO
from farm.jobs.spec import InputRef
from farm.jobs.states import TERMINAL, HoldReason, Phase, State, Tier
from farm.scheduling.remaining import remaining_s
from farm.tracing import trace_of


class View(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True)


class Result(View):
    """The files of a committed result. The URLs are signed and end at `expires_at`; asking again makes new ones."""

    video_url: str
    poster_url: str
    recipe_url: str
    expires_at: datetime
    width: int
    height: int
    frames: int
    fps: float
    seconds: float
    size: int
    sha256: str


class FaultView(View):
    """Why a job failed. `code` is stable."""

    code: str
    message: str


class InputView(View):
    """An input as the farm has it: an address until intake has fetched it, then what is kept of it and rendered from.
    `sha256` is that of the file as it was sent; `notes` say what of it was left out or taken otherwise."""

    url: str | None = None
    sha256: str | None = None
    content_type: str | None = None
    size: int | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    notes: list[str] = Field(default_factory=list)


class WornLora(View):
    """A LoRA that a job uses. It may have been deleted since."""

    id: str
    name: str
    sha256: str
    scale: float
    expert: str


class BoughtView(View):
    """Who renders or rendered the job instead of this farm. match: how near the model is to the one that was asked for
    (same_weights, same_family, substitute); id: the job there, once it is known."""

    provider: str
    model: str
    match: str
    id: str | None = None


class ForecastView(View):
    """When a queued job is expected to start and to end; each holds within the interval in about four of five cases."""

    start: datetime
    start_from: datetime
    start_until: datetime
    finish: datetime
    finish_from: datetime
    finish_until: datetime


Pausable = Literal["tenant", "lane", "pool", "worker", "provider"]


class PauseView(View):
    """What an operator paused. A lane may also be a model's id: all of its lanes."""

    kind: Pausable
    name: str
    since: datetime


class PauseEvent(View):
    """An operator paused what queued jobs of yours wait for, or resumed it (`paused` false). `at`: since when; of a
    resume, when it was seen, which may be some seconds later."""

    kind: Pausable
    name: str
    paused: bool
    at: datetime


class JobView(View):
    """A job as its owner sees it.

    progress   of the current attempt, [0, 1]; step of steps while denoising
    position   jobs of yours before this one while it is queued (0: next), else null
    eta_s      seconds until it is over, null while that cannot be known;  forecast  the same of a queued job, as times
    width, height  null until the input is here whose shape they follow;  frames, fps, duration_s  the same of a clip
               that decides the length;  predicted_s  null while any of them is
    held_for   why it is not to start yet (paused: by its owner, or by an operator with its tenant, pool or model;
               approval, dependency, parked); [] when it may;  operator_pauses  what of these an operator did
    tier       an economy job becomes normal when its window comes near;  expires_at  when that window ends
    cost       in credits: held while it is open, charged once it is over; null where nobody pays
    bought     set when a provider renders it
    attempt    number of the current or last attempt, 0 before the first
    cancelling a cancel was acknowledged; the job can no longer succeed
    batch      the batch that it came in, shot  its line, id and take in the manifest, after  jobs that it follows,
               retried_as  the job that took its place when it had failed
    trace_id   of its trace, and in every log line about it
    """

    id: str
    object: Literal["job"] = "job"
    name: str | None = None
    label: str | None = None
    batch: str | None = None
    shot: dict[str, Any] = Field(default_factory=dict)
    after: list[str] = Field(default_factory=list)
    retried_as: str | None = None
    state: State
    phase: Phase | None = None
    progress: float = 0.0
    step: int = 0
    steps: int
    position: int | None = None
    held_for: list[HoldReason] = Field(default_factory=list)
    operator_pauses: list[PauseView] = Field(default_factory=list)
    eta_s: float | None = None
    forecast: ForecastView | None = None
    attempt: int = 0
    max_attempts: int = 3
    cancelling: bool = False
    model: str
    task: str
    prompt: str
    negative_prompt: str = ""
    inputs: dict[str, InputView] = Field(default_factory=dict)
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: int | float | None = None
    duration_s: float | None = None
    guidance: float
    guidance_2: float | None = None
    shift: float
    seed: int
    loras: list[WornLora] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)
    priority: int = 5
    deadline: datetime | None = None
    tier: Tier = Tier.NORMAL
    start_by: datetime | None = None
    expires_at: datetime | None = None
    predicted_s: float | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    webhook_url: str | None = None
    dialect: str = "farm"
    cost: float | None = None
    bought: BoughtView | None = None
    trace_id: str = ""
    created_at: datetime
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: Result | None = None
    error: FaultView | None = None

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.state in TERMINAL


class EstimateView(View):
    """What a job would be, without making it. Its inputs are not read: null is what they decide. `cost` in credits,
    null where nobody pays or the length is not known yet."""

    object: Literal["estimate"] = "estimate"
    model: str
    task: str
    width: int | None
    height: int | None
    frames: int | None
    fps: int | float | None
    steps: int
    predicted_s: float | None
    cost: float | None


class JobList(View):
    """Newest first. `next_cursor` continues after the last one, null at the end."""

    object: Literal["list"] = "list"
    data: list[JobView]
    next_cursor: str | None = None


@dataclass(frozen=True)
class Links:
    """Freshly signed addresses of a result's files."""

    video_url: str
    poster_url: str
    recipe_url: str
    expires_at: datetime


def view_job(
    job: Job,
    *,
    eta_s: float | None = None,
    links: Links | None = None,
    forecast: ForecastView | None = None,
    operator_pauses: Sequence[PauseView] = (),
) -> JobView:
    """`links` to the files of a committed result; without them the result is left out."""
    spec, running, over = job.spec, job.state is State.RUNNING, job.state in TERMINAL
    sides, length = spec.sides_known, spec.length_known
    return JobView(
        id=job.id,
        name=job.name,
        label=job.label,
        batch=job.batch,
        shot=dict(job.shot),
        after=list(job.parents),
        retried_as=job.retried_as,
        state=job.state,
        phase=Phase(job.phase) if running and job.phase else None,
        progress=1.0 if job.state is State.SUCCEEDED else job.progress,
        step=(job.steps or spec.steps) if job.state is State.SUCCEEDED else job.step,
        steps=job.steps or spec.steps,
        position=job.position,
        held_for=[] if over else list(job.held_for),
        operator_pauses=list(operator_pauses),
        eta_s=eta_s,
        forecast=forecast,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        cancelling=job.cancelling and not over,
        model=spec.model,
        task=spec.task,
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        inputs={role: _input(ref) for role, ref in spec.inputs.items()},
        width=spec.width if sides else None,
        height=spec.height if sides else None,
        frames=spec.frames if length else None,
        fps=round(spec.fps, 3) if length else None,
        duration_s=round(spec.frames / spec.fps, 3) if length else None,
        guidance=spec.guidance,
        guidance_2=spec.guidance_2,
        shift=spec.shift,
        seed=spec.seed,
        loras=[WornLora.model_validate(lora) for lora in spec.loras],
        options=dict(spec.options),
        priority=job.priority,
        deadline=_time(job.deadline_ms),
        tier=job.tier,
        start_by=_time(job.start_by_ms),
        expires_at=None if over else _time(job.expires_ms),
        predicted_s=round(job.predicted_s, 3) if sides and length else None,
        metadata=dict(job.metadata),
        webhook_url=job.webhook_url,
        dialect=job.dialect,
        cost=_cost(job),
        bought=_bought(job),
        trace_id=trace_of(job.id),
        created_at=moment(job.created_ms),
        queued_at=_time(job.queued_ms),
        started_at=_time(job.started_ms),
        finished_at=_time(job.finished_ms),
        result=_result(job.artifacts, links) if links and job.artifacts and over else None,
        error=_fault(job),
    )


def view_estimate(job: NewJob, cost_micro: int | None) -> EstimateView:
    """A job that was not made, and what it would cost."""
    spec = job.spec
    known = spec.sides_known and spec.length_known
    return EstimateView(
        model=spec.model,
        task=spec.task,
        width=spec.width if spec.sides_known else None,
        height=spec.height if spec.sides_known else None,
        frames=spec.frames if spec.length_known else None,
        fps=round(spec.fps, 3) if spec.length_known else None,
        steps=spec.steps,
        predicted_s=round(job.predicted_s, 1) if known else None,
        cost=None if cost_micro is None else cost_micro / MICRO,
    )


def eta_s(job: Job) -> float | None:
    """Seconds from when it was read until a running job is over, from the pace of its own denoising; None before two
    steps were seen and outside of denoising."""
    if job.state is not State.RUNNING or job.phase != Phase.DENOISING or job.phase_ms is None:
        return None
    elapsed_s = (job.read_ms - job.phase_ms) / 1000
    if elapsed_s <= 0 or not 2 <= job.step <= job.steps or not 0 < job.progress <= 1:
        return None
    left_s = remaining_s(
        elapsed_s, steps=job.step, steps_left=job.steps - job.step, share=job.progress, share_left=1 - job.progress
    )
    return round(left_s, 1)


def moment(ms: int) -> datetime:
    """Milliseconds since the epoch as a time in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _time(ms: int | None) -> datetime | None:
    return None if ms is None else moment(ms)


def _input(ref: InputRef) -> InputView:
    return InputView(
        url=None if ref.stored else ref.url,
        sha256=ref.sha256,
        content_type=ref.content_type,
        size=ref.size,
        width=ref.width,
        height=ref.height,
        seconds=ref.seconds,
        notes=list(ref.notes),
    )


def _result(files: Artifacts, links: Links) -> Result:
    return Result(
        **asdict(links),
        width=files.width,
        height=files.height,
        frames=files.frames,
        fps=files.fps,
        seconds=files.seconds,
        size=files.size,
        sha256=files.sha256,
    )


def _cost(job: Job) -> float | None:
    micro = job.charged if job.state in TERMINAL and job.charged is not None else job.hold
    return None if micro is None else micro / MICRO


def _bought(job: Job) -> BoughtView | None:
    intent = job.purchase
    if intent is None:
        return None
    told = {name: str(intent.get(name, "")) for name in ("provider", "match")}
    return BoughtView(**told, model=str(intent.get("sold", "")), id=job.purchase_id)


def _fault(job: Job) -> FaultView | None:
    if job.state is not State.FAILED and job.error_code != FaultCode.EXPIRED:
        return None
    return FaultView(code=job.error_code or "engine_error", message=job.error_message or "the job failed")


# --- the farm's other resources


class UploadView(View):
    """Where to PUT the bytes of an input, once; then name it as `{"upload": id}`."""

    id: str
    method: Literal["PUT"] = "PUT"
    url: str
    expires_at: datetime
    max_bytes: int


class FieldFault(View):
    """`line` counts from 1 in a manifest."""

    line: int | None = None
    field: str | None = None
    detail: str


class ProblemView(View):
    """RFC 9457. `type` is stable; `field` is a dotted path; `errors` is there when several fields are wrong, or a
    manifest's lines: then the first of them, and `error_count` says how many there are."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    errors: list[FieldFault] | None = None
    error_count: int | None = None
