"""What the ledger's scripts answer."""

from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """The answer to a heartbeat: go on, stop because the owner cancelled, or stop because the lease is not yours."""

    GO = "go"
    CANCEL = "cancel"
    LOST = "lost"


class CommitOutcome(StrEnum):
    """COMMITTED and ALREADY (a repeated call, lost reply) both mean: the result is the job's."""

    COMMITTED = "committed"
    ALREADY = "already"
    CANCELLED = "cancelled"
    FENCED = "fenced"


class FailOutcome(StrEnum):
    """What became of the job after its attempt failed."""

    RETRY = "retry"
    FAILED = "failed"
    CANCELLED = "cancelled"
    FENCED = "fenced"
    ALREADY = "already"


class CancelOutcome(StrEnum):
    """CANCELLED: over now. CANCELLING: a worker was told and the job can no longer succeed. OVER: it had ended."""

    CANCELLED = "cancelled"
    CANCELLING = "cancelling"
    OVER = "over"
    NOT_FOUND = "not_found"


@dataclass(frozen=True)
class Permit:
    """A wake-up to publish: there is work in `pool`. Reserved in the ledger, so that none is published twice."""

    id: str
    pool: str


@dataclass(frozen=True)
class ReapReport:
    """Counts of one reap, and the permits that it asks for."""

    expired: int = 0
    requeued: int = 0
    failed: int = 0
    cancelled: int = 0
    promoted: int = 0
    permits: tuple[Permit, ...] = ()


@dataclass(frozen=True)
class AuditReport:
    """What an audit pass found different from the job records, per counter, and mended."""

    checked: int = 0
    drift: dict[str, int] = field(default_factory=dict)
    cursor: str | None = None
