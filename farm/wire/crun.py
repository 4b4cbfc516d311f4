"""The crun.ai dialect, both directions. Pure: JSON values in, farm vocabulary out, and back.

What surprises: times in whole seconds; `param` is an object; ids are UUIDs; a callback is the bare data object without
an envelope; HTTP status is real for most errors, and a missing task may also arrive as HTTP 200 with code 404.
"""

from collections.abc import Mapping
from typing import Any

from farm.jobs.draft import Draft
from farm.jobs.errors import (
    FarmError,
    FaultCode,
    Forbidden,
    InvalidRequest,
    ModelUnavailable,
    NotFound,
    PaymentRequired,
    TooMany,
    Unauthorized,
    Unavailable,
)
from farm.jobs.states import State
from farm.wire import lora_words, model_ids
from farm.wire.answers import addresses_of, aspect_word, compact, data_of, plain_number, positive, state_word
from farm.wire.error_table import Row, error_of, retry_headers, row_of
from farm.wire.http import Unreadable
from farm.wire.json_body import keepable
from farm.wire.report import (
    UNLIMITED,
    Fault,
    Output,
    Reply,
    Report,
    credits_from,
    credits_number,
    fault_number,
    fault_of,
    state_of,
)
from farm.wire.words import Fields, as_source, parse_nested
from models.catalog import resolution_word

DIALECT = "crun"
KEY_MISSING = "API key missing"
TYPE_ERROR = "Missing Params or Type Error"

_WORDS = {
    State.WAITING: "pending",
    State.QUEUED: "pending",
    State.RUNNING: "running",
    State.SUCCEEDED: "success",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}
_STATES = {
    "pending": State.QUEUED,
    "running": State.RUNNING,
    "success": State.SUCCEEDED,
    "failed": State.FAILED,
}
_NAMES = {
    "image": "input.img_urls",
    "video": "input.video_urls",
    "audio": "input.audio_urls",
    "prompt": "input.prompt",
    "negative_prompt": "input.negative_prompt",
    "resolution": "input.resolution",
    "aspect": "input.aspect_ratio",
    "seconds": "input.duration",
    "seed": "input.seed",
    "webhook_url": "callback_url",
}


def parse_create(raw: Mapping[str, Any]) -> Draft:
    """A CreateTask (or estimate-credits) body. Raises InvalidRequest; ModelUnavailable for an id crun does not have."""
    top = Fields(raw)
    model = top.text("model")
    if model is None:
        raise InvalidRequest("required", "model")
    meaning = model_ids.meaning(DIALECT, model)
    if meaning is None:
        raise ModelUnavailable(f"the model {model[:100]!r} is not available", "model")
    if not isinstance(parse_nested(raw.get("input")), Mapping):
        raise InvalidRequest("required, an object", "input")
    given = Fields(raw.get("input"), "input.")
    lora_words.refuse(top, given)
    sources = {
        "image": given.urls("img_urls", "image_urls", "img_url", "image_url"),
        "video": given.urls("video_urls", "video_url"),
        "audio": given.urls("audio_urls", "audio_url"),
    }
    return Draft(
        prompt=given.text("prompt"),
        model=meaning.model,
        task=meaning.task,
        negative_prompt=given.text("negative_prompt"),
        resolution=given.resolution("resolution"),
        aspect=given.aspect("aspect_ratio", "ratio"),
        seconds=given.number("duration"),
        seed=given.seed("seed"),
        inputs={role: as_source(urls[0]) for role, urls in sources.items() if urls},
        webhook_url=top.callback("callback_url", "callbackUrl"),
        dialect=DIALECT,
        dialect_data={"model": model_ids.canonical(DIALECT, model), "request": keepable(raw)},
        field_names=_NAMES,
    )


def render_create(draft: Draft) -> dict[str, Any]:
    """The CreateTask body for a draft. Raises ModelUnavailable when crun has no model for it."""
    lora_words.refuse_draft(draft)
    model = model_ids.dialect_model(DIALECT, draft.model or "", draft.task)
    if model is None:
        raise ModelUnavailable(f"crun renders no {draft.model}", "model")
    resolution, aspect = draft.resolution, draft.aspect
    if draft.width and draft.height:
        resolution = resolution or resolution_word(draft.width, draft.height)
        aspect = aspect or draft.width / draft.height
    asked = {
        "prompt": draft.prompt,
        "img_urls": addresses_of(draft.inputs.get("image")),
        "video_urls": addresses_of(draft.inputs.get("video")),
        "audio_urls": addresses_of(draft.inputs.get("audio")),
        "negative_prompt": draft.negative_prompt,
        "resolution": resolution.upper() if resolution else None,
        "aspect_ratio": aspect_word(aspect) if aspect else None,
        "duration": None if draft.seconds is None else plain_number(draft.seconds),
        "seed": draft.seed,
    }
    return compact({"model": model, "callback_url": draft.webhook_url, "input": compact(asked)})


def envelope(data: Any, code: int = 200, message: str = "success") -> dict[str, Any]:
    """The object around every answer."""
    return {"code": code, "message": message, "data": data}


def render_created(task_id: str) -> dict[str, Any]:
    """The answer to CreateTask."""
    return envelope({"task_id": task_id})


def parse_created(body: Any) -> str:
    """The task id. Raises the error that the body stands for, or Unreadable when it has none."""
    task_id = data_of(body).get("task_id")
    if isinstance(task_id, str) and task_id:
        return task_id
    raise parse_error(200, body) or Unreadable("the answer carries no task id")


def render_status(report: Report) -> dict[str, Any]:
    """The answer to TaskInfo."""
    return envelope(render_callback(report))


def render_callback(report: Report) -> dict[str, Any]:
    """The task itself: `data` of TaskInfo, and the whole body of a callback. Strict clients check every key's type."""
    provider, _, version = report.model.partition("/")
    request = report.request if isinstance(report.request, Mapping) else {}
    asked = parse_nested(request.get("input"))
    created_s, finished_s = _seconds(report.created_ms), _seconds(report.finished_ms)
    result = None
    if report.state is State.SUCCEEDED:
        result = {"code": 200, "message": "success", "media_urls": list(report.urls)}
    elif report.fault:
        result = {"code": fault_number(report.fault.code, 501), "message": report.fault.message, "media_urls": []}
    return {
        "task_id": report.id,
        "provider": provider or "wan",
        "model_version": version or report.model or "wan",
        "status": state_word(_WORDS, report.state),
        "param": {
            "model": report.model,
            "callback_url": request.get("callback_url") or None,
            "input": asked if isinstance(asked, Mapping) else {},
        },
        "create_at": created_s or 0,
        "complete_at": finished_s,
        "duration_s": None if finished_s is None or created_s is None else max(finished_s - created_s, 0),
        "source": "api",
        "credits": credits_number(report.credits_micro or 0),
        "result": result,
    }


def parse_status(body: Any) -> Report:
    """A TaskInfo answer. Raises the error that the envelope stands for when it holds no task."""
    data = data_of(body)
    if not data.get("task_id"):
        raise parse_error(200, body) or Unreadable("the answer carries no task")
    return _parse(data)


def parse_callback(body: Any) -> Report:
    """A callback: the bare data object, or the same in an envelope."""
    if isinstance(body, Mapping) and body.get("task_id"):
        return _parse(body)
    return parse_status(body)


def _parse(data: Mapping[str, Any]) -> Report:
    state, unknown_word = state_of(_STATES, data.get("status"))
    result = data.get("result")
    result = result if isinstance(result, Mapping) else {}
    fault = None
    if state is State.FAILED:
        fault = Fault(fault_of(result.get("code")), str(result.get("message") or ""))
        state = State.CANCELLED if fault.code is FaultCode.CANCELLED else state
    urls = result.get("media_urls")
    param = parse_nested(data.get("param"))
    param = param if isinstance(param, Mapping) else {}
    model = param.get("model") or "/".join(str(data[k]) for k in ("provider", "model_version") if data.get(k))
    return Report(
        id=str(data["task_id"]),
        state=state,
        model=str(model),
        outputs=tuple(Output(url=str(url)) for url in urls) if isinstance(urls, list) else (),
        fault=fault,
        unknown_word=unknown_word,
        request=compact(param),
        created_ms=_ms(data.get("create_at")),
        finished_ms=_ms(data.get("complete_at")),
        credits_micro=credits_from(data.get("credits")),
    )


def _seconds(ms: int | None) -> int | None:
    return None if ms is None else ms // 1000


def _ms(value: Any) -> int | None:
    seconds = positive(value)
    return None if seconds is None else seconds * 1000


def render_balance(credits_micro: int | None) -> dict[str, Any]:
    """The answer to a balance request; `credits_micro` None: a tenant without an account."""
    return envelope({"balance": UNLIMITED if credits_micro is None else credits_number(credits_micro)})


def parse_balance(body: Any) -> int | None:
    """Micro-credits of a balance answer; None when it has none."""
    return credits_from(data_of(body).get("balance"))


def render_estimate(credits_micro: int, *, estimated: bool = False) -> dict[str, Any]:
    """`estimated` False means that the job will cost exactly this."""
    return envelope({"credits": credits_number(credits_micro), "estimated": estimated})


def parse_estimate(body: Any) -> tuple[int | None, bool]:
    """(millionths of a credit, whether it is only an estimate)."""
    return credits_from(data_of(body).get("credits")), bool(data_of(body).get("estimated", True))


_ERRORS = (
    Row(Unauthorized, 401, 401),
    Row(PaymentRequired, 402, 402),
    Row(Forbidden, 403, 403),
    Row(NotFound, 404, 404),
    # crun answers HTTP status for status; its code for a switched-off feature would read as an outage there
    Row(ModelUnavailable, 505, 422),
    Row(InvalidRequest, 422, 422),
    Row(TooMany, 429, 429),
    Row(Unavailable, 455, 503),
    Row(FarmError, 422, 422),
)


def render_error(error: Exception) -> Reply:
    """Any error of the farm as crun answers it; an unknown one is a 500 without details."""
    row = row_of(_ERRORS, error)
    if row is None:
        return Reply(500, envelope(None, 500, "Internal server error"))
    if row.code == 422:
        return Reply(row.status, {"code": 422, "message": TYPE_ERROR, "errors": [str(error)]})
    return Reply(row.status, envelope(None, row.code, str(error)), retry_headers(error))


def parse_error(status: int, body: Any, headers: Mapping[str, str] | None = None) -> FarmError | None:
    """The farm's error for an answer, None when it is none."""
    fields = body if isinstance(body, Mapping) else {}
    code = fields.get("code")
    code = code if isinstance(code, int) and code != 200 else status
    errors = fields.get("errors")
    message = "; ".join(map(str, errors)) if isinstance(errors, list) and errors else str(fields.get("message") or "")
    return error_of(_ERRORS, code, message, headers)
