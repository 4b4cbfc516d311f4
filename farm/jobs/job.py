"""The records of the ledger as the rest of the farm sees them. All times are integers, milliseconds since the
epoch, on the clock of the Redis server (the only clock that decides anything)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farm.jobs.spec import JobSpec
from farm.jobs.states import HOLDS_INTAKE, HoldReason, State, Tier


@dataclass(frozen=True)
class NewJob:
    """A job to be admitted. `id` is a UUIDv7 made by the caller (farm.jobs.ids), so that a batch keeps its order.

    pool, lane       where it can run, and what must be loaded for it
    predicted_s      GPU-seconds that it is expected to take: charged to the tenant's fair share
    priority         0 (last) .. 9 (first) within the tenant; deadline_ms breaks ties (None: last)
    idempotency_key  of the tenant; body_sha256 tells whether the same key came with another body
    hold             credit to hold, in micro-credits; None when the tenant has no account
    dialect, dialect_data   who asked and what that dialect needs to answer (callback address, own ids, raw request)
    wall_s           the longest that one attempt may take
    needs            the memory that it needs, as farm.scheduling.memory_fit tells it; "": any worker holds it
    tier             whose turn comes first, before any share; deadline_ms is then the end of an economy job's window
    external         what may be bought for it, narrower than its tenant's consent; None: as its tenant allows
    seed_given       whoever sent it named its seed
    start_by_ms      a job that has not started by then is cancelled (`expired`); None: never
    held_for         why it is not to start yet (Ledger.release_held); (): it is queued at once
    """

    id: str
    tenant: str
    spec: JobSpec
    pool: str
    lane: str
    predicted_s: float
    wall_s: float
    priority: int = 5
    deadline_ms: int | None = None
    max_attempts: int = 3
    idempotency_key: str | None = None
    body_sha256: str | None = None
    hold: int | None = None
    dialect: str = "farm"
    dialect_data: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    webhook_url: str | None = None
    label: str | None = None
    needs: str = ""
    held_for: tuple[HoldReason, ...] = ()
    tier: Tier = Tier.NORMAL
    start_by_ms: int | None = None
    external: str | None = None
    seed_given: bool = False
    #: of a job of a batch (farm.jobs.batch): its `line`, `id` and `take` in the manifest
    shot: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reshaped:
    """The facts of a job that follow from its inputs: fields as in JobSpec and NewJob. A `hold` of None keeps the
    credit that is held."""

    width: int
    height: int
    frames: int
    fps: float
    predicted_s: float
    wall_s: float
    needs: str = ""
    hold: int | None = None


@dataclass(frozen=True)
class Artifacts:
    """The objects of a committed result: keys in the bucket, under the attempt's own prefix."""

    video: str
    poster: str
    recipe: str
    size: int
    sha256: str
    width: int
    height: int
    frames: int
    fps: float
    seconds: float


@dataclass(frozen=True)
class Job:
    """One job as it stands. Everything that an owner may see, and what a worker needs to run it.

    attempt        number of the current or last attempt = the fencing token; 0 before the first
    attempts_used  attempts that count toward max_attempts (a hand-back does not)
    progress       of the current attempt, [0, 1]; step of steps while denoising
    cancelling     a cancel was acknowledged; the job can no longer succeed
    """

    id: str
    tenant: str
    state: State
    spec: JobSpec
    pool: str
    lane: str
    priority: int
    deadline_ms: int | None
    predicted_s: float
    wall_s: float
    max_attempts: int
    created_ms: int
    queued_ms: int | None
    started_ms: int | None
    finished_ms: int | None
    not_before_ms: int | None
    lease_until_ms: int | None
    attempt: int
    attempts_used: int
    worker_losses: int
    worker: str | None
    phase: str | None
    progress: float
    step: int
    steps: int
    cancelling: bool
    error_code: str | None
    error_message: str | None
    artifacts: Artifacts | None
    hold: int | None
    charged: int | None
    dialect: str
    dialect_data: Mapping[str, Any]
    name: str | None
    metadata: Mapping[str, str]
    webhook_url: str | None
    label: str | None
    #: ETA arithmetic: when the current phase began
    phase_ms: int | None = None
    #: the owner had its files removed
    erased: bool = False
    #: the attempt that took its inputs in, the last one that was no render; 0: none had to be
    intake_attempt: int = 0
    #: the worker on which its last failed attempt ended
    failed_on: str | None = None
    #: jobs of its own tenant that stood before it when it was read (0: next); None when it is not queued, or delayed
    position: int | None = None
    #: why it is not to start, or not again after this attempt; since when
    held_for: tuple[HoldReason, ...] = ()
    held_ms: int | None = None
    #: what was told when it was bought (Ledger.buy), and what the provider calls it
    purchase: Mapping[str, Any] | None = None
    purchase_id: str | None = None
    #: which submission that was, also after the job has left it
    purchase_nonce: str | None = None
    #: an economy job becomes a normal one when its window comes near
    tier: Tier = Tier.NORMAL
    start_by_ms: int | None = None
    #: what may be bought for it (farm.providers.entry.Consent), if it says so itself; whether its owner named its seed
    external: str | None = None
    seed_given: bool = False
    #: when it is cancelled if it is not finished: an economy job's window, also after it has risen
    expires_ms: int | None = None
    #: the batch that it belongs to, and what its manifest calls it there (farm.jobs.batch)
    batch: str | None = None
    shot: Mapping[str, Any] = field(default_factory=dict)
    #: the jobs that it follows
    parents: tuple[str, ...] = ()
    #: it failed and was made anew in its batch
    retried_as: str | None = None
    #: the memory that it needs (farm.scheduling.memory_fit); "": any worker holds it
    needs: str = ""
    #: when it was read, by the ledger's clock, which also gave the other times
    read_ms: int = field(default=0, compare=False)

    @property
    def held(self) -> bool:
        """Whether it stands still for a reason: it is neither at work nor would it be if there were room."""
        if self.state is State.WAITING and self.lease_until_ms is None:
            return not HOLDS_INTAKE.isdisjoint(self.held_for)
        return self.state is State.QUEUED and bool(self.held_for)


@dataclass(frozen=True)
class Admitted:
    """`created` is False when the idempotency key had been seen with the same body: `id` is the first job's. `job` is
    how it stood when it was admitted; None where it was there before, and may be anywhere by now."""

    id: str
    created: bool
    job: Job | None = field(default=None, compare=False)


class Fence(int):
    """The number of an attempt as its holder has it: with the nonce of its claim. A Redis that lost its last second
    gives one number to two holders; only the one whose nonce it kept may write. A bare number is nobody's."""

    nonce: str

    def __new__(cls, attempt: int, nonce: str) -> "Fence":
        """The attempt with the nonce of its claim."""
        fence = super().__new__(cls, attempt)
        fence.nonce = nonce
        return fence

    def __getnewargs__(self) -> tuple[int, str]:  # type: ignore[override]
        """A copy is the same fence."""
        return int(self), self.nonce

    @staticmethod
    def text(attempt: int) -> str:
        """As the ledger compares it (lib/job.lua)."""
        return f"{attempt:d}:{attempt.nonce if isinstance(attempt, Fence) else ''}"


@dataclass(frozen=True)
class Claim:
    """A valid lease: the right to write to `job` under `attempt` until lease_ms from now, renewed by heartbeats. Pass
    `attempt` on as it is: it is the fence."""

    job: Job
    attempt: Fence
    lease_ms: int


@dataclass(frozen=True)
class JobEvent:
    """One line of a tenant's event stream. `id` is resumable (a Redis stream id)."""

    id: str
    job: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """Newest first. `cursor` continues after the last job, None at the end."""

    jobs: tuple[Job, ...]
    cursor: str | None
