"""The farm's own JSON of batches, both directions. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model

from farm.jobs.batch import BATCH_ID, Act, ActKind, Batch, BatchState, Choice, acts_on
from farm.jobs.errors import InvalidRequest
from farm.jobs.money import MICRO
from farm.jobs.states import HoldReason, State
from farm.wire.own import MAX_IDEMPOTENCY_KEY, CreateJob, Strict
from farm.wire.own_views import PauseView, View, moment

#: what a manifest may call a shot
SHOT_ID = r"[^\s,;]{1,64}"
MAX_TAKES, MAX_PARENTS = 1000, 16
LAST_FRAME = "last frame of "

ShotId = Annotated[str, Field(pattern=f"^{SHOT_ID}$")]


class BatchShot(CreateJob):
    """A line of a manifest: a job, and what it has to do with the other lines."""

    id: ShotId | None = Field(None, description="your name for the shot, for `after` and `start_from` of other lines")
    takes: int | None = Field(None, ge=1, le=MAX_TAKES, description="jobs to make of it, each with another seed")
    after: list[ShotId] = Field(default_factory=list, max_length=MAX_PARENTS, description="ids of shots to wait for")
    start_from: str | None = Field(
        None, max_length=100, description=f'"{LAST_FRAME}ID": the result of that shot gives the first frame'
    )
    if_parent_fails: Literal["fail", "run"] | None = Field(None, description="default: fail")


def parent_shot(start_from: str) -> str:
    """The shot that a `start_from` names."""
    return start_from.removeprefix(LAST_FRAME).strip()


#: columns that list names
NAME_LISTS = frozenset({"after"})
#: those of a shot that may be given once for all of them
_SHARED = [
    name
    for name, field in BatchShot.model_fields.items()
    if name not in ("prompt", "id", "after", "start_from", "takes", "name") and get_origin(field.annotation) is not list
]


class _Asked(BaseModel):
    """The manifest is the body; what is said here holds for all of its shots. Any field of a shot may be given, and is
    its default."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=200, description="your name for the batch")
    takes: int = Field(1, ge=1, le=MAX_TAKES, description="jobs to make of each shot, each with another seed")
    dry_run: bool = Field(False, description="only say what it would cost and what is wrong with it")
    hold_after: int | None = Field(
        None,
        ge=1,
        description="render so many shots first, with their takes; the rest is held until it is approved",
    )

    @property
    def defaults(self) -> dict[str, str]:
        """What was given for every shot, as text."""
        return {name: value for name in _SHARED if (value := getattr(self, name)) is not None}


BatchQuery = create_model(
    "BatchQuery",
    __base__=_Asked,
    __doc__=_Asked.__doc__,
    **{name: (str | None, Field(None, max_length=8192)) for name in _SHARED},  # type: ignore[call-overload]
)


class BatchViewQuery(BaseModel):
    """`view` shows a batch as the farm's own API does, or as OpenAI's, in whichever form it came; without, in that one
    (and to OpenAI's clients, by their X-Stainless-Lang, as OpenAI's)."""

    model_config = ConfigDict(extra="forbid")

    view: Literal["own", "openai"] | None = None


class BatchListQuery(BatchViewQuery):
    """`cursor` is the `next_cursor` of the page before (`after` is OpenAI's word for it). `form`: only batches that
    came in this one. `view`: shows all of them in one form; `own` leaves out those that are not admitted."""

    form: Literal["own", "openai"] | None = None
    after: str | None = Field(None, max_length=200, json_schema_extra={"pattern": f"^{BATCH_ID}$"})
    idempotency_key: str | None = Field(None, max_length=MAX_IDEMPOTENCY_KEY)
    cursor: str | None = Field(None, max_length=200, json_schema_extra={"pattern": f"^{BATCH_ID}$"})
    limit: int = Field(50, ge=1, le=200)


class Credits(View):
    """In credits. `total` is the price of all jobs; `held` what is held for open ones, `spent` what was charged."""

    total: float
    held: float = 0
    spent: float = 0


class BatchActView(View):
    """Something that is done to many jobs of a batch, by the farm itself: it looked at so many and changed so many.
    `error` is why it stopped: payment, when credit was used up; too_many, when its owner may have no more open jobs;
    no_room, when its owner's files take all the room that they may take; unpriced, when its owner pays and nobody knows
    the price; undone, when a later act on the same jobs (resume after pause) ended it."""

    id: str
    object: Literal["batch.act"] = "batch.act"
    kind: ActKind
    over: bool
    looked: int
    changed: int
    error: str | None = None
    created_at: datetime
    ended_at: datetime | None = None


class ActOn(Strict):
    """Which jobs; left out: all of the batch."""

    label: str | None = Field(None, max_length=100)
    error_code: str | None = Field(None, max_length=64, description="jobs that failed so")
    state: State | None = None

    def choice(self, kind: ActKind) -> Choice:
        """As the ledger takes it. Raises InvalidRequest for jobs that the act could never change."""
        able = acts_on(kind)
        if self.state is not None and self.state not in able:
            words = ", ".join(state for state in State if state in able)
            raise InvalidRequest(f"{kind} is for jobs that are {words}", "state")
        if self.error_code is not None and State.FAILED not in able:
            raise InvalidRequest(f"{kind} is for jobs that are not over, and those have no error", "error_code")
        return Choice(self.label, self.error_code, self.state)


class Prioritise(ActOn):
    """Change the priority of jobs of a batch."""

    priority: int = Field(ge=0, le=9, description="among your own jobs: 9 first")


class BatchView(View):
    """A batch as its owner sees it.

    state     placing: it is admitted, and its jobs are still being queued; then open; ended with its last job
    counts    jobs by state; held_for  open jobs by the reasons that hold them (paused, approval, dependency, parked);
              operator_pauses  what operators paused that keeps queued jobs of it, which held_for does not count
    progress  share of its jobs that are over
    gpu_s     GPU-seconds that all of it is predicted to take; gpu_s_left  those of jobs that are not over
    finish_at when it is predicted to end; null while that cannot be known, as while any of its jobs is paused,
              parked or held for approval
    acts      what was done to many of its jobs, newest first
    """

    id: str
    object: Literal["batch"] = "batch"
    name: str | None = None
    state: Literal["placing", "open", "ended"]
    jobs: int
    counts: dict[State, int]
    held_for: dict[HoldReason, int] = Field(default_factory=dict)
    operator_pauses: list[PauseView] = Field(default_factory=list)
    progress: float
    credits: Credits
    gpu_s: float
    gpu_s_left: float
    finish_at: datetime | None = None
    created_at: datetime
    ended_at: datetime | None = None
    acts: list[BatchActView] = Field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether all of its jobs have ended."""
        return self.state == "ended"


class BatchList(View):
    """Each in the form in which it came: the farm's own, or OpenAI's. The last three are OpenAI's of the page."""

    object: Literal["list"] = "list"
    data: list[BatchView | dict[str, Any]]
    next_cursor: str | None = None
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class QuoteView(View):
    """What a batch would be. `credits` is null where a price is not known; `finish_at` where no worker is known."""

    object: Literal["batch.quote"] = "batch.quote"
    shots: int
    jobs: int
    credits: float | None
    gpu_s: float
    finish_at: datetime | None = None


def view_batch(
    batch: Batch,
    *,
    finish_at: datetime | None = None,
    acts: Sequence[Act] = (),
    operator_pauses: Sequence[PauseView] = (),
) -> BatchView:
    """A batch as the API shows it."""
    return BatchView(
        id=batch.id,
        name=batch.name or None,
        state=_STATES[batch.state],
        jobs=batch.jobs,
        counts=dict(batch.counts),
        held_for=dict(batch.held_for),
        operator_pauses=list(operator_pauses),
        progress=round(1 - batch.open / max(1, batch.jobs), 4),
        credits=Credits(total=batch.hold / MICRO, held=batch.held / MICRO, spent=batch.spent / MICRO),
        gpu_s=round(batch.gpu_s, 3),
        # sums of rounded numbers: nothing is left of what is over
        gpu_s_left=round(max(0.0, batch.gpu_s - batch.gpu_s_over), 3) if batch.open else 0.0,
        finish_at=finish_at,
        created_at=moment(batch.created_ms),
        ended_at=None if batch.ended_ms is None else moment(batch.ended_ms),
        acts=[
            BatchActView(
                id=act.id,
                kind=act.kind,
                over=act.over,
                looked=act.looked,
                changed=act.changed,
                error=act.error,
                created_at=moment(act.created_ms),
                ended_at=None if act.ended_ms is None else moment(act.ended_ms),
            )
            for act in acts
        ],
    )


_STATES: dict[BatchState, Any] = {
    BatchState.PLACING: "placing",
    BatchState.OPEN: "open",
    BatchState.ENDED: "ended",
}
