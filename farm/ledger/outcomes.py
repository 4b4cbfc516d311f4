"""What the ledger's scripts answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from farm.jobs.states import State


class Verdict(StrEnum):
    """The answer to a heartbeat: go on, stop because the owner cancelled, or stop because the lease is not yours."""

    GO = "go"
    CANCEL = "cancel"
    LOST = "lost"


@dataclass(frozen=True)
class Beat:
    """One attempt's heartbeat; with `phase`, also where it is."""

    job: str
    attempt: int
    phase: str | None = None
    progress: float | None = None
    step: int = 0
    steps: int = 0


@dataclass(frozen=True)
class PresenceBeat:
    """A worker's own heartbeat: it counts as live for ttl_s more, with the status that it told last. `mark` is of that
    status (farm.ledger.workforce.mark)."""

    worker: str
    pool: str
    mark: str
    ttl_s: float


@dataclass(frozen=True)
class BeatAnswer:
    """What a call of heartbeats hears.

    verdicts  one of each attempt, in their order
    known     the ledger has of the worker what it told; False: it must be announced
    reaped    when the last reap was, to be compared with another answer; None: there was none yet
    """

    verdicts: tuple[Verdict, ...]
    known: bool
    reaped: str | None


class CommitOutcome(StrEnum):
    """COMMITTED and ALREADY (a repeated call, lost reply) both mean: the result is the job's. UNPAID, of an intake: the
    job costs more than its tenant has, and failed."""

    COMMITTED = "committed"
    ALREADY = "already"
    CANCELLED = "cancelled"
    FENCED = "fenced"
    UNPAID = "unpaid"


class FailOutcome(StrEnum):
    """What became of the job after its attempt failed."""

    RETRY = "retry"
    FAILED = "failed"
    CANCELLED = "cancelled"
    FENCED = "fenced"
    ALREADY = "already"


class CancelOutcome(StrEnum):
    """CANCELLED: over now. CANCELLING: its worker learns it at the next heartbeat, and the job can no longer succeed.
    OVER: it had ended."""

    CANCELLED = "cancelled"
    CANCELLING = "cancelling"
    OVER = "over"
    NOT_FOUND = "not_found"


class HoldOutcome(StrEnum):
    """How a job stands after a reason to hold it was added or removed.

    HELD     it has a reason, and does not start
    RUNNING  it has a reason, and runs on; a retry would be held
    FREE     it has no reason left
    OVER     it had ended
    """

    HELD = "held"
    RUNNING = "running"
    FREE = "free"
    OVER = "over"
    NOT_FOUND = "not_found"


class SwitchKind(StrEnum):
    """What an operator can pause. A lane may also be a model's id: all of its lanes. A worker takes no more jobs."""

    TENANT = "tenant"
    LANE = "lane"
    POOL = "pool"
    PROVIDER = "provider"
    WORKER = "worker"


class OperationOutcome(StrEnum):
    """What became of an operator's act on a job. RUNNING, HELD, BOUGHT, OVER: it stands where that cannot be done.
    NO_POOL: there is no such pool."""

    DONE = "done"
    UNCHANGED = "unchanged"
    RUNNING = "running"
    HELD = "held"
    BOUGHT = "bought"
    OVER = "over"
    NO_POOL = "no_pool"
    NOT_FOUND = "not_found"


@dataclass(frozen=True)
class OperatorAct:
    """A line of the log of operators' acts. `target` is "<kind> <name>"; `id` orders the lines and is a cursor."""

    id: str
    at_ms: int
    who: str
    why: str
    act: str
    target: str
    before: str
    after: str


@dataclass(frozen=True)
class Permit:
    """A wake-up to publish: there is work in `pool`. Reserved in the ledger, so that none is published twice."""

    id: str
    pool: str


class PermitPublisher(Protocol):
    """Publishes permits to the workers' queues (farm.claiming.permits.Permits); it never raises."""

    def publish(self, permits: Sequence[Permit]) -> object:
        """Publish each to the queue of its pool."""
        ...


@dataclass(frozen=True)
class ReapReport:
    """Counts of one reap, and the permits that it asks for. more: it left some for the next call."""

    expired: int = 0
    requeued: int = 0
    failed: int = 0
    cancelled: int = 0
    promoted: int = 0
    #: bought jobs that no process follows any more, to be resumed
    resumable: int = 0
    permits: tuple[Permit, ...] = ()
    more: bool = False


@dataclass(frozen=True)
class AuditReport:
    """What an audit pass found different from the job records, per counter, and mended."""

    checked: int = 0
    drift: dict[str, int] = field(default_factory=dict)
    cursor: str | None = None


class StatementKind(StrEnum):
    """What a line of a tenant's statement books. `hold` and `release` change only what is held, `topup` only the
    balance, `settle` takes the amount from both."""

    TOPUP = "topup"
    HOLD = "hold"
    SETTLE = "settle"
    RELEASE = "release"


@dataclass(frozen=True)
class Account:
    """A tenant's credit in micro-credits: `balance` is paid in and not spent, `held` the part that open jobs hold."""

    balance: int
    held: int

    @property
    def available(self) -> int:
        """Micro-credits that can be held for new jobs."""
        return self.balance - self.held


@dataclass(frozen=True)
class StatementLine:
    """One booking, with the account as it stood after it. `id` is a Redis stream id and a cursor; `job` is None for a
    top-up. `amount` is positive except for a correcting top-up."""

    id: str
    at_ms: int
    kind: StatementKind
    amount: int
    job: str | None
    balance: int
    held: int
    note: str


@dataclass(frozen=True)
class RateVerdict:
    """Whether a request is within the tenant's rate. `limit` is None when there is none; `remaining` requests could
    follow at once, all of `limit` again after reset_s, and a refused one may come back after retry_after_s."""

    allowed: bool
    limit: int | None = None
    remaining: int | None = None
    reset_s: float = 0.0
    retry_after_s: float = 0.0


@dataclass(frozen=True)
class OutboxEntry:
    """A terminal job whose owner wants a callback. Read again until it is acknowledged."""

    id: str
    job: str
    tenant: str
    state: State
