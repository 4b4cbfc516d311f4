"""A job's report in the farm's own words: the value that every codec renders from and parses into.

A codec keeps what its dialect has a place for and drops the rest; times are integer milliseconds since the epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farm.jobs.errors import FaultCode
from farm.jobs.money import MICRO
from farm.jobs.states import Phase, State

#: credits that a tenant without an account is told to have
UNLIMITED = 1_000_000_000


@dataclass(frozen=True)
class Output:
    """One file of a result. `url` is where it can be fetched now; size in bytes, None where it is unknown."""

    url: str
    name: str = ""
    content_type: str = ""
    size: int | None = None
    id: str = ""


@dataclass(frozen=True)
class Fault:
    """Why a job ended badly, for its owner. `code` is the nearest of the farm's own."""

    code: FaultCode
    message: str


@dataclass(frozen=True)
class Report:
    """One job as a dialect reports it.

    id, model      in the dialect's own words; `handle` is a second, secret id where the dialect has one
    request        the create request as it was sent: an object, or text when it came back unreadable
    progress       [0, 1], None where unknown; step of steps while denoising
    credits_micro  millionths of the dialect's unit of money: reserved while open, spent once over
    size           (width, height) in pixels; seconds of the clip; None until an input is here that decides them
    unknown_word   the status as it was told, where no document has that word; `state` is RUNNING then
    """

    id: str
    state: State
    model: str = ""
    handle: str = ""
    phase: Phase | None = None
    progress: float | None = None
    step: int = 0
    steps: int = 0
    outputs: tuple[Output, ...] = ()
    fault: Fault | None = None
    request: Mapping[str, Any] | str = field(default_factory=dict)
    prompt: str | None = None
    size: tuple[int, int] | None = None
    seconds: float | None = None
    created_ms: int | None = None
    updated_ms: int | None = None
    queued_ms: int | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    credits_micro: int | None = None
    credits_left_micro: int | None = None
    unknown_word: str = ""
    #: what was done otherwise than asked, in sentences for the owner
    notes: tuple[str, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of all outputs."""
        return tuple(output.url for output in self.outputs)


def state_of(states: Mapping[str, State], word: object) -> tuple[State, str]:
    """What a dialect's status word means, and the word again where nobody documented it: that means "not over yet"."""
    told = str(word)
    return (states[told], "") if told in states else (State.RUNNING, told)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer without the HTTP library: status, JSON body, extra headers."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


def credits_number(micro: int) -> int | float:
    """Credits as people write them: 60, 9.5."""
    return micro // MICRO if micro % MICRO == 0 else micro / MICRO


def credits_from(value: Any) -> int | None:
    """Millionths of a number or of its text; None when there is none."""
    try:
        return None if value is None or isinstance(value, bool) else round(float(value) * MICRO)
    except (TypeError, ValueError, OverflowError):
        return None


#: faults as numbers, for the dialects that number them. The first of equal numbers is what a number means inbound.
FAULT_NUMBERS = {
    FaultCode.INVALID_INPUT: 422,
    FaultCode.INPUT_UNREACHABLE: 424,
    FaultCode.INPUT_REFUSED: 403,
    FaultCode.DOES_NOT_FIT: 413,
    FaultCode.DEPENDENCY_FAILED: 424,
    FaultCode.INSUFFICIENT_CREDIT: 402,
    FaultCode.PROVENANCE_REQUIRED: 451,
    FaultCode.TOO_LONG: 408,
    FaultCode.STUCK: 408,
    FaultCode.DEADLINE_PASSED: 410,
    FaultCode.EXPIRED: 410,
    FaultCode.CANCELLED: 499,
}


def fault_number(code: FaultCode, otherwise: int) -> int:
    """The number of a fault; `otherwise` for faults of the farm itself."""
    return FAULT_NUMBERS.get(code, otherwise)


def fault_of(number: Any) -> FaultCode:
    """The fault that a dialect's number or its text means; an unknown one is the provider's failure."""
    return next((code for code, known in FAULT_NUMBERS.items() if str(known) == str(number)), FaultCode.PROVIDER_FAILED)
