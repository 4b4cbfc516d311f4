"""The self-hosted "WAN 2.2 Video Generation API" dialect, both directions. Pure.

What differs from one's expectation: one shape for every job; HTTP 200 for a created job; times without a time zone;
errors as {"detail": text}; `position` is -1 once a worker has taken the job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from farm.jobs.draft import Draft, Source
from farm.jobs.errors import (
    Conflict,
    FarmError,
    FaultCode,
    InvalidRequest,
    NotFound,
    PaymentRequired,
    TooLarge,
    TooMany,
    Unauthorized,
    Unavailable,
)
from farm.jobs.states import State
from farm.wire import lora_words
from farm.wire.answers import compact, state_word
from farm.wire.error_table import Row, error_of, retry_headers, row_of
from farm.wire.http import Unreadable
from farm.wire.json_body import keepable
from farm.wire.report import Fault, Output, Reply, Report, state_of
from farm.wire.words import Fields

DIALECT = "selfhosted"
#: every job of this dialect: 480p, five seconds
SHAPE: Mapping[str, int] = {"width": 832, "height": 480, "frames": 81, "fps": 16}
DEFAULT_LIMIT = 100
NO_KEY = "Invalid API key"
NO_JOB = "Job not found"
TAKEN = -1
_CANCELLED = "The job was cancelled"

_WORDS = {
    State.WAITING: "queued",
    State.QUEUED: "queued",
    State.RUNNING: "processing",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}
_STATES = {"queued": State.QUEUED, "processing": State.RUNNING, "completed": State.SUCCEEDED, "failed": State.FAILED}


def parse_create(raw: Mapping[str, Any]) -> Draft:
    """A /generate body; fields that it does not document are ignored. Raises InvalidRequest."""
    asked = Fields(raw)
    lora_words.refuse(asked)
    # base64 wins where both are given
    inputs, used = {}, None
    if text := asked.text("image_base64"):
        inputs, used = {"image": Source(base64=text)}, "image_base64"
    elif url := asked.text("image_url"):
        inputs, used = {"image": Source(url=url.strip())}, "image_url"
    prompt = asked.text("prompt")
    if prompt is None:
        raise InvalidRequest("Prompt is required", "prompt")
    return Draft(
        prompt=prompt,
        inputs=inputs,
        dialect=DIALECT,
        dialect_data={"request": keepable(raw)},
        field_names={"image": used} if used else {},
    )


def in_its_shape(draft: Draft) -> Draft:
    """The draft with the one size and length of this dialect."""
    return replace(draft, width=SHAPE["width"], height=SHAPE["height"], frames=SHAPE["frames"], fps=SHAPE["fps"])


def render_create(draft: Draft) -> dict[str, Any]:
    """The /generate body for a draft. Raises InvalidRequest for a shape that such a server does not render."""
    lora_words.refuse_draft(draft)
    for name, only in SHAPE.items():
        if getattr(draft, name) not in (None, only):
            raise InvalidRequest(f"a self-hosted server renders {only} and nothing else", name)
    image = draft.inputs.get("image", Source())
    return compact({"prompt": draft.prompt, "image_url": image.url, "image_base64": image.base64})


def render_created(job_id: str, position: int) -> dict[str, Any]:
    """The answer to /generate; `position`: its place in the queue, TAKEN once a worker has it."""
    return {"job_id": job_id, "status": "queued", "position": position}


def parse_created(body: Any) -> tuple[str, int]:
    """(job id, position). Raises Unreadable when the answer has no id."""
    if not isinstance(body, Mapping) or not isinstance(body.get("job_id"), str) or not body["job_id"]:
        raise Unreadable("the answer carries no job id")
    position = body.get("position")
    return body["job_id"], position if isinstance(position, int) else TAKEN


def render_status(report: Report) -> dict[str, Any]:
    """The answer to /status/{id}."""
    return {
        "job_id": report.id,
        "status": state_word(_WORDS, report.state),
        "video_url": report.urls[0] if report.state is State.SUCCEEDED and report.urls else None,
        "error": _error_text(report),
    }


def _error_text(report: Report) -> str | None:
    fault = report.fault
    if report.state is State.CANCELLED and (fault is None or fault.code is FaultCode.CANCELLED):
        return _CANCELLED
    # what nobody cancelled says that it expired
    return fault.message if fault and report.state in (State.FAILED, State.CANCELLED) else None


def parse_status(body: Any) -> Report:
    """A /status answer, or one entry of /jobs. Raises Unreadable when it is neither."""
    if not isinstance(body, Mapping) or not isinstance(body.get("job_id"), str):
        raise Unreadable("the answer carries no job")
    state, unknown_word = state_of(_STATES, body.get("status"))
    text, url, fault = body.get("error"), body.get("video_url"), None
    if state is State.FAILED:
        cancelled = text == _CANCELLED
        state = State.CANCELLED if cancelled else state
        fault = Fault(FaultCode.CANCELLED if cancelled else FaultCode.PROVIDER_FAILED, str(text or "failed"))
    prompt = body.get("prompt")
    return Report(
        id=body["job_id"],
        state=state,
        outputs=(Output(url=url),) if isinstance(url, str) and url else (),
        fault=fault,
        unknown_word=unknown_word,
        prompt=prompt if isinstance(prompt, str) else None,
        created_ms=_parse_time(body.get("created_at")),
    )


def render_listing(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """The caller sorts them."""
    return [_entry(report) for report in reports]


def _entry(report: Report) -> dict[str, Any]:
    status = render_status(report)
    return {
        "job_id": status["job_id"],
        "status": status["status"],
        "prompt": report.prompt,
        "video_url": status["video_url"],
        "error": status["error"],
        "created_at": _time(report.created_ms or 0),
    }


def parse_listing(body: Any) -> list[Report]:
    """The reports of /jobs. Raises InvalidRequest for an answer that is no list."""
    if not isinstance(body, list):
        raise Unreadable("the answer carries no list of jobs")
    return [parse_status(entry) for entry in body]


def parse_query(status: str | None, limit: str | None) -> tuple[frozenset[State], int]:
    """(states, limit) of GET /jobs; no states for a status that does not exist: the list is empty then."""
    states = frozenset(s for s, word in _WORDS.items() if status in (None, "", word))
    if limit in (None, ""):
        return states, DEFAULT_LIMIT
    assert limit is not None
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 10):
        raise InvalidRequest("must be a whole number", "limit")
    return states, int(limit)


def render_health(*, loaded: bool, current_job: str | None) -> dict[str, Any]:
    """The answer to /health."""
    return {"status": "ok", "model_loaded": loaded, "current_job": current_job}


def parse_health(body: Any) -> bool:
    """Whether such a server would render a job now."""
    return isinstance(body, Mapping) and body.get("status") == "ok" and body.get("model_loaded") is True


#: the three documented statuses, and HTTP's own for what that server never said
_ROWS = (
    Row(Unauthorized, 401, 401),
    Row(NotFound, 404, 404),
    Row(InvalidRequest, 400, 400),
    Row(PaymentRequired, 402, 402),
    Row(Conflict, 409, 409),
    Row(TooLarge, 413, 413),
    Row(TooMany, 429, 429),
    Row(Unavailable, 503, 503),
)


def render_error(error: Exception) -> Reply:
    """Any error of the farm as this dialect answers it; an unknown one is a 500 without details."""
    row = row_of(_ROWS, error)
    status = row.status if row else getattr(error, "http_status", 500)
    if isinstance(error, TooLarge) and error.field:
        # a picture that is too large is a failed download here; 413 is the body itself
        status = 400
    if isinstance(error, Unauthorized):
        text = NO_KEY
    elif isinstance(error, NotFound):
        text = error.detail or NO_JOB
    elif isinstance(error, InvalidRequest) and error.field == "prompt":
        text = error.detail
    elif isinstance(error, FarmError):
        text = str(error)
    else:
        text = "Internal server error"
    return Reply(status, {"detail": text}, retry_headers(error))


def parse_error(status: int, body: Any, headers: Mapping[str, str] | None = None) -> FarmError | None:
    """The farm's error for an answer, None when it is none. A FastAPI server puts a list into `detail` at times."""
    detail = body.get("detail") if isinstance(body, Mapping) else None
    return error_of(_ROWS, status, detail if isinstance(detail, str) else str(detail or f"HTTP {status}"), headers)


def _time(ms: int) -> str:
    """As datetime.utcnow().isoformat() wrote it, and always with its six digits."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def _parse_time(value: Any) -> int | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
