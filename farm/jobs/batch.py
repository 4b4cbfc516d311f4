"""A batch: a manifest of shots that was admitted whole. Its jobs run like any others; the batch counts them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from farm.jobs.states import TERMINAL, HoldReason, State

#: the pattern of a whole id
BATCH_ID = r"batch_[0-9a-f]{32}"


class BatchState(StrEnum):
    """How far a batch is. Nobody sees one that is `staging`."""

    #: its jobs are being stored; a crash leaves nothing of it
    STAGING = "staging"
    #: it is admitted, and its jobs are being put into their queues; a crash only delays that
    PLACING = "placing"
    #: all of its jobs are placed, and some are not over
    OPEN = "open"
    ENDED = "ended"


class ActKind(StrEnum):
    """What can be done to many jobs of a batch at once."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    #: what was held for approval may run
    APPROVE = "approve"
    #: those that failed are made anew
    RETRY = "retry"
    PRIORITY = "priority"


class ActState(StrEnum):
    """How far an act on many jobs is."""

    UNDER_WAY = "under_way"
    ENDED = "ended"


@dataclass(frozen=True)
class Choice:
    """Which jobs of a batch: those of this label, that failed with this code, that are in this state. None: any."""

    label: str | None = None
    error_code: str | None = None
    state: State | None = None


#: the states that an act can change anything in; of all that is open, where none is named
ACTS_ON: dict[ActKind, frozenset[State]] = {ActKind.RETRY: frozenset({State.FAILED})}
_OPEN = frozenset(State) - TERMINAL


def acts_on(kind: ActKind) -> frozenset[State]:
    """The states of the jobs that an act can change."""
    return ACTS_ON.get(kind, _OPEN)


@dataclass(frozen=True)
class Act:
    """An act on many jobs as it stands. `looked` jobs were looked at and `changed` changed; `error` is why it stopped
    before its end ("payment", "unpriced", "too_many", "no_room", or "undone" by a later act)."""

    id: str
    batch: str
    kind: ActKind
    over: bool
    looked: int
    changed: int
    error: str | None
    created_ms: int
    ended_ms: int | None


@dataclass(frozen=True)
class NewBatch:
    """A batch to be admitted.

    jobs   how many will be staged
    hold   micro-credits of all jobs; `priced` is False where the price of any is not known
    gpu_s  GPU-seconds that all jobs are predicted to take
    data   JSON values that no script reads: who asked, in which form, for what
    """

    id: str
    tenant: str
    jobs: int
    hold: int
    priced: bool
    gpu_s: float
    name: str = ""
    idempotency_key: str | None = None
    body_sha256: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """A batch as it stands. All times as in farm.jobs.job.

    counts       jobs by state; those that are not placed yet count as queued
    held_for     open jobs by the reasons that hold them; one may have several
    held, spent  micro-credits held for open jobs, and charged for those that succeeded
    gpu_s, gpu_s_over   GPU-seconds that were predicted for all jobs, and for those that are over
    cancelling_ms       when a cancel of all of it was asked for, unless something was made anew since
    """

    id: str
    tenant: str
    state: BatchState
    jobs: int
    counts: Mapping[State, int]
    hold: int
    held: int
    spent: int
    gpu_s: float
    gpu_s_over: float
    created_ms: int
    ended_ms: int | None
    name: str
    data: Mapping[str, Any]
    cancelling_ms: int | None = None
    held_for: Mapping[HoldReason, int] = field(default_factory=dict)

    @property
    def open(self) -> int:
        """Jobs that are not over."""
        return self.counts[State.WAITING] + self.counts[State.QUEUED] + self.counts[State.RUNNING]


@dataclass(frozen=True)
class AskedBatch:
    """A batch that was asked for by the file of its requests, as OpenAI's API does. Times are seconds since the epoch.

    answer   "" while the file is to be looked at, and of a batch that was admitted; else "failed", "cancelled" or
             "expired"
    errors   why it failed: code, line, message, param of the first ones
    """

    id: str
    tenant: str
    input_file: str
    endpoint: str
    window: str
    created_s: int
    expires_s: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    answer: str = ""
    answered_s: int | None = None
    errors: tuple[Mapping[str, Any], ...] = ()


_ID = re.compile(BATCH_ID)


def is_batch_id(text: str) -> bool:
    """Whether `text` could be one of ours; anything else is not found without asking Redis."""
    return _ID.fullmatch(text) is not None
