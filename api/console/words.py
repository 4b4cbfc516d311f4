"""How a job is told to people: one word for where it stands, and numbers that can be read. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from farm.jobs.job import Job
from farm.jobs.money import MICRO
from farm.jobs.states import TERMINAL, HoldReason, Phase, State
from farm.ledger import StatementKind

_STATES = {
    State.WAITING: "Fetching inputs",
    State.QUEUED: "Queued",
    State.RUNNING: "Rendering",
    State.SUCCEEDED: "Done",
    State.FAILED: "Failed",
    State.CANCELLED: "Cancelled",
}
#: reason -> (kind, word); the first that a job has is shown
_HELD = {
    HoldReason.APPROVAL: ("approval", "Needs approval"),
    HoldReason.PARKED: ("parked", "Parked"),
    HoldReason.PAUSED: ("held", "Paused"),
    HoldReason.DEPENDENCY: ("held", "Waits for another"),
}
_BY_OPERATOR = "Paused by an operator"
_PHASES = {
    Phase.ASSIGNED: "Starting",
    Phase.LOADING: "Loading model",
    Phase.PREPROCESSING: "Preprocessing",
    Phase.DENOISING: "Rendering",
    Phase.DECODING: "Decoding",
    Phase.ENCODING: "Encoding",
    Phase.UPLOADING: "Uploading",
    Phase.SUBMITTING: "Submitting",
    Phase.SUBMIT_UNKNOWN: "Submit unknown",
    Phase.PROVIDER_QUEUED: "Queued at provider",
    Phase.GENERATING: "At provider",
    Phase.DOWNLOADING: "Downloading",
}


#: verdict of the burst process -> (kind, word); see farm.wire.own_explain.ExternalView
VERDICTS = {
    "bought": ("succeeded", "Bought"),
    "would_buy": ("running", "Would buy"),
    "waits": ("queued", "Waits"),
    "parked": ("parked", "Parked"),
    "stays": ("idle", "Stays here"),
}
#: why an act on many jobs of a batch stopped before its end (farm.jobs.batch.Act.error)
ACT_STOPPED = {
    "payment": "the credit was used up",
    "too_many": "no more jobs may be open",
    "no_room": "files took all the room",
    "unpriced": "the price of a job is not known",
}
BOOKINGS = {
    StatementKind.TOPUP: "Top-up",
    StatementKind.HOLD: "Held",
    StatementKind.SETTLE: "Charged",
    StatementKind.RELEASE: "Released",
}


@dataclass(frozen=True)
class StatusWord:
    """`kind` picks the colour; `progress` in percent, None where none is to be shown."""

    kind: str
    word: str
    progress: int | None = None
    step: str = ""


def status_of(job: Job, *, by_operator: bool = False) -> StatusWord:
    """Where a job stands. `by_operator`: whose pause it is."""
    return _status(
        job.state,
        phase=job.phase,
        held_for=job.held_for,
        by_operator=by_operator,
        retrying=job.state is State.QUEUED and job.attempts_used > 0,
        cancelling=job.cancelling,
        progress=job.progress,
        step=job.step,
        steps=job.steps,
    )


def status_of_event(data: Mapping[str, Any]) -> StatusWord:
    """The same from the last words of a job's events."""
    return _status(
        State(data["state"]),
        phase=data.get("phase"),
        held_for=tuple(HoldReason(reason) for reason in str(data.get("held_for") or "").split()),
        by_operator=bool(data.get("operator_pauses")),
        retrying="retry_in_s" in data,
        cancelling=bool(data.get("cancelling")),
        progress=float(data.get("progress") or 0),
        step=int(data.get("step") or 0),
        steps=int(data.get("steps") or 0),
    )


def _status(
    state: State,
    *,
    phase: str | None,
    held_for: tuple[HoldReason, ...],
    by_operator: bool,
    retrying: bool,
    cancelling: bool,
    progress: float,
    step: int,
    steps: int,
) -> StatusWord:
    if state in TERMINAL:
        return StatusWord(state.value, _STATES[state])
    if cancelling:
        return StatusWord("cancelled", "Cancelling")
    if state is State.RUNNING:
        known = Phase(phase) if phase else None
        kind = "unknown" if known is Phase.SUBMIT_UNKNOWN else "running"
        word = _PHASES[known] if known else _STATES[state]
        shown = f"{step}/{steps}" if steps and known is Phase.DENOISING else ""
        return StatusWord(kind, word, round(100 * progress), shown)
    for reason, (kind, word) in _HELD.items():
        if reason in held_for:
            return StatusWord(kind, _BY_OPERATOR if reason is HoldReason.PAUSED and by_operator else word)
    return StatusWord("retrying", "Retrying") if retrying else StatusWord(state.value, _STATES[state])


def paused(kind: str, name: str) -> str:
    """What an operator paused, for its owner: "the pool h200"."""
    if kind == "tenant":
        return "all of your jobs"
    return f"the {'model' if kind == 'lane' and '@' not in name else kind} {name}"


def count(number: int, noun: str) -> str:
    """ "1 job", "1,200 jobs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def span(seconds: float | None) -> str:
    """A length of time: "8 s", "3 min", "2 h 5 min"; a dash for none."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def clock(ms: int | None) -> str:
    """A moment as ISO 8601 in UTC, for <time>; our script shows it in the reader's own zone."""
    return "" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def credits(micro: float | None) -> str:
    """Money, in credits (two decimals, four where the price has them); a dash where nobody pays."""
    if micro is None:
        return "–"
    text = f"{micro / MICRO:,.4f}"
    return text.removesuffix("00")


def booked(kind: StatementKind, micro: int) -> str:
    """What a booking was about; with a sign where it changed the balance: "+25.00", "−3.0625"."""
    return {StatementKind.TOPUP: "+", StatementKind.SETTLE: "−"}.get(kind, "") + credits(micro)


def dollars(micro: float | None) -> str:
    """Money of a provider, from millionths of a dollar."""
    return "–" if micro is None else f"${micro / MICRO:,.2f}"


def plain(number: float) -> str:
    """As somebody would type it into a field: "10", "0.5"."""
    return f"{number:.10f}".rstrip("0").rstrip(".") if isinstance(number, float) else str(number)


def percent(part: float) -> str:
    """Of one: "28 %", "0.4 %"."""
    shown = 100 * part
    return f"{shown:.0f} %" if shown >= 9.95 or not shown else f"{shown:.1f} %"


def size(count: float | None) -> str:
    """Bytes: "12 MB"."""
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
