"""The apixo.ai dialect, both directions. Pure: JSON values in, farm vocabulary out, and back.

What surprises: the model stands in the path, also when polling; errors use the real HTTP status, repeated in `code`;
resultJson is there only on success and failCode only on failure; a callback is the status answer, failures included.
"""

from collections.abc import Mapping
from typing import Any

from farm.jobs.draft import Draft
from farm.jobs.errors import (
    Conflict,
    FarmError,
    FaultCode,
    Forbidden,
    InvalidRequest,
    ModelUnavailable,
    NotFound,
    PaymentRequired,
    TooLarge,
    TooMany,
    Unauthorized,
    Unavailable,
)
from farm.jobs.states import State
from farm.wire import lora_words, model_ids
from farm.wire.answers import addresses_of, aspect_word, compact, data_of, dump, plain_number, positive, state_word
from farm.wire.error_table import Row, error_of, retry_headers, row_of
from farm.wire.http import Unreadable
from farm.wire.json_body import keepable
from farm.wire.report import UNLIMITED, Fault, Output, Reply, Report, credits_from, credits_number, state_of
from farm.wire.words import Fields, as_source, parse_nested
from models.catalog import resolution_word

DIALECT = "apixo"
#: a shorter clip is billed as the first, a longer one as the second
BILLED_S = (5.0, 120.0)
ROUTES = ("auto", "value", "official")

_WORDS = {
    State.WAITING: "pending",
    State.QUEUED: "pending",
    State.RUNNING: "processing",
    State.SUCCEEDED: "success",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}
_STATES = {
    "pending": State.QUEUED,
    "processing": State.RUNNING,
    "success": State.SUCCEEDED,
    "failed": State.FAILED,
    "fail": State.FAILED,
}
#: the first of equal words is the one sent; the rest are only understood. apixo has no word for a cancelled task
_FAULTS = (
    (FaultCode.INPUT_REFUSED, "CONTENT_VIOLATION"),
    (FaultCode.INPUT_REFUSED, "NSFW_DETECTED"),
    (FaultCode.INPUT_REFUSED, "NSFW"),
    (FaultCode.INPUT_UNREACHABLE, "IMAGE_DOWNLOAD_FAILED"),
    (FaultCode.INPUT_UNREACHABLE, "INVALID_IMAGE_URL"),
    (FaultCode.INVALID_INPUT, "UNSUPPORTED_FORMAT"),
    (FaultCode.INVALID_INPUT, "INVALID_PROMPT"),
    (FaultCode.INVALID_INPUT, "PROMPT_TOO_LONG"),
    (FaultCode.INVALID_INPUT, "PromptLengthExceeded"),
    (FaultCode.DOES_NOT_FIT, "IMAGE_TOO_LARGE"),
    (FaultCode.TOO_LONG, "PROCESSING_TIMEOUT"),
    (FaultCode.STUCK, "PROCESSING_TIMEOUT"),
    (FaultCode.DEADLINE_PASSED, "PROCESSING_TIMEOUT"),
    (FaultCode.CANCELLED, "CANCELLED"),
    (FaultCode.PROVIDER_FAILED, "GENERATION_FAILED"),
)
_TASKS = {
    "animate": "animate",
    "replace": "replace",
    "text-to-video": "t2v",
    "image-to-video": "i2v",
    "reference-to-video": "r2v",
    "video-edit": "v2v",
}
_TYPES = {task: word for word, task in _TASKS.items()}
_ANIMATE = ("animate", "replace")
_NAMES = {
    "image": "input.image_urls",
    "video": "input.video_urls",
    "audio": "input.audio_urls",
    "prompt": "input.prompt",
    "negative_prompt": "input.negative_prompt",
    "resolution": "input.resolution",
    "aspect": "input.aspect_ratio",
    "seconds": "input.duration",
    "seed": "input.seed",
    "task": "input.type",
    "webhook_url": "callback_url",
}


#: what may be bought for a job that names a route; `auto`: as its tenant allows
_CONSENTS = {"official": "same", "value": "family"}


def route_for(same_weights: bool) -> str:
    """The route to order with: the maker's own servers where only the same weights will do. `value` is chosen for
    nobody."""
    return "official" if same_weights else "auto"


def parse_create(model: str, raw: Mapping[str, Any]) -> Draft:
    """A generateTask body for the model of the path. Raises InvalidRequest; NotFound for a model nobody knows."""
    meaning = model_ids.meaning(DIALECT, model)
    if meaning is None:
        raise NotFound(f"Model not found: {model[:100]}", "model")
    top, given = Fields(raw), Fields(raw.get("input"), "input.")
    lora_words.refuse(top, given)
    route = (top.text("provider") or "auto").strip().lower()
    if route not in ROUTES:
        raise InvalidRequest(f"must be one of {', '.join(ROUTES)}", "provider")
    callback = top.callback("callback_url", "callbackUrl")
    if (top.text("request_type") or "async").strip().lower() == "callback" and callback is None:
        raise InvalidRequest("Missing required field: callback_url", "callback_url")
    task = _task(given, animate=meaning.model == model_ids.ANIMATE)
    resolution = given.resolution("resolution")
    if task in _ANIMATE and resolution not in (None, "480p", "720p"):
        raise InvalidRequest("must be 480p or 720p", "input.resolution")
    sources = {role: given.urls(f"{role}_urls", f"{role}_url") for role in ("image", "video", "audio")}
    for role, urls in sources.items():
        needed = task in _ANIMATE and role != "audio"
        if (needed and len(urls) != 1) or len(urls) > 1:
            what = "Missing required field" if not urls else "exactly one URL is required"
            raise InvalidRequest(f"{what}: input.{role}_urls", f"input.{role}_urls")
    return Draft(
        prompt=given.text("prompt"),
        model=meaning.model,
        task=task,
        negative_prompt=given.text("negative_prompt"),
        resolution=resolution,
        aspect=given.aspect("aspect_ratio", "ratio"),
        seconds=given.number("duration"),
        seed=given.seed("seed"),
        inputs={role: as_source(urls[0]) for role, urls in sources.items() if urls},
        webhook_url=callback,
        external=_CONSENTS.get(route),
        dialect=DIALECT,
        dialect_data={
            "model": model_ids.canonical(DIALECT, model),
            "request": keepable(raw),
            "route": route,
            "billed_s": BILLED_S,
        },
        field_names=_NAMES,
    )


def _task(given: Fields, *, animate: bool) -> str | None:
    word = given.text("type")
    if word is None:
        return "animate" if animate else None
    task = _TASKS.get(word.strip().lower())
    if task is None or (animate and task not in _ANIMATE):
        raise InvalidRequest(
            f"must be {'animate or replace' if animate else 'one of ' + ', '.join(_TASKS)}", "input.type"
        )
    return task


def render_create(draft: Draft) -> tuple[str, dict[str, Any]]:
    """(model for the path, generateTask body). Raises ModelUnavailable or InvalidRequest for what apixo cannot do."""
    lora_words.refuse_draft(draft)
    model = model_ids.dialect_model(DIALECT, draft.model or "", draft.task)
    if model is None:
        raise ModelUnavailable(f"apixo renders no {draft.model}", "model")
    resolution, aspect = draft.resolution, draft.aspect
    if draft.width and draft.height:
        resolution = resolution or resolution_word(draft.width, draft.height)
        aspect = aspect or draft.width / draft.height
    if draft.task in _ANIMATE:
        aspect = None
        if resolution == "580p":
            raise InvalidRequest("apixo renders 480p and 720p", "resolution")
    asked = {
        "mode": "standard" if draft.task in _ANIMATE else None,
        "type": _TYPES.get(draft.task or ""),
        "image_urls": addresses_of(draft.inputs.get("image")),
        "video_urls": addresses_of(draft.inputs.get("video")),
        "audio_urls": addresses_of(draft.inputs.get("audio")),
        "prompt": draft.prompt or None,
        "negative_prompt": draft.negative_prompt,
        "resolution": resolution,
        "aspect_ratio": aspect_word(aspect) if aspect else None,
        "duration": None if draft.seconds is None else plain_number(draft.seconds),
        "seed": -1 if draft.seed is None else draft.seed,
    }
    body = {
        "request_type": "callback" if draft.webhook_url else "async",
        "callback_url": draft.webhook_url,
        "provider": draft.dialect_data.get("route", "auto"),
        "input": compact(asked),
    }
    return model, compact(body)


def envelope(data: Any, code: int = 200, message: str = "success") -> dict[str, Any]:
    """The object around every answer."""
    return {"code": code, "message": message, "data": data}


def render_created(task_id: str) -> dict[str, Any]:
    """The answer to generateTask."""
    return envelope({"taskId": task_id})


def parse_created(body: Any) -> str:
    """The task id. Raises the error that the body stands for, or Unreadable when it has none."""
    task_id = data_of(body).get("taskId")
    if isinstance(task_id, str) and task_id:
        return task_id
    raise parse_error(200, body) or Unreadable("the answer carries no task id")


def render_status(report: Report) -> dict[str, Any]:
    """The statusTask answer, and the callback: what is not known yet is left out."""
    data: dict[str, Any] = {"taskId": report.id, "state": state_word(_WORDS, report.state)}
    if report.state is State.SUCCEEDED:
        data["resultJson"] = dump({"resultUrls": list(report.urls)})
    if report.fault:
        data["failCode"] = next((w for c, w in _FAULTS if c is report.fault.code), "GENERATION_FAILED")
        data["failMsg"] = report.fault.message
    data["createTime"] = report.created_ms
    if report.finished_ms is not None:
        data["completeTime"] = report.finished_ms
        data["costTime"] = report.finished_ms - (report.created_ms or report.finished_ms)
    return envelope(data)


def parse_status(body: Any) -> Report:
    """A statusTask answer, or a callback. Raises the error that the envelope stands for when it holds no task."""
    data = data_of(body)
    if not data.get("taskId"):
        raise parse_error(200, body) or Unreadable("the answer carries no task")
    state, unknown_word = state_of(_STATES, data.get("state"))
    fault = None
    if state is State.FAILED:
        word = str(data.get("failCode") or "")
        code = next((c for c, w in _FAULTS if w.lower() == word.lower()), None)
        code = code or (FaultCode.INPUT_REFUSED if "Content" in word else FaultCode.PROVIDER_FAILED)
        fault = Fault(code, str(data.get("failMsg") or ""))
        state = State.CANCELLED if code is FaultCode.CANCELLED else state
    result = parse_nested(data.get("resultJson"))
    urls = result.get("resultUrls") if isinstance(result, Mapping) else None
    return Report(
        id=str(data["taskId"]),
        state=state,
        outputs=tuple(Output(url=str(url)) for url in urls) if isinstance(urls, list) else (),
        fault=fault,
        unknown_word=unknown_word,
        created_ms=positive(data.get("createTime")),
        finished_ms=positive(data.get("completeTime")),
    )


render_callback = render_status
parse_callback = parse_status


def render_balance(credits_micro: int | None) -> dict[str, Any]:
    """apixo does not publish this answer's shape; clients look at its HTTP status."""
    return envelope({"balance": UNLIMITED if credits_micro is None else credits_number(credits_micro)})


def parse_balance(body: Any) -> int | None:
    """Micro-credits of a balance answer; None when it has none."""
    return credits_from(data_of(body).get("balance"))


_ERRORS = (
    Row(Unauthorized, 401, 401),
    Row(PaymentRequired, 402, 402),
    Row(Forbidden, 403, 403),
    Row(NotFound, 404, 404),
    Row(ModelUnavailable, 404, 404),
    Row(TooMany, 429, 429),
    Row(Unavailable, 503, 503),
    Row(InvalidRequest, 400, 400),
    Row(Conflict, 400, 400),
    Row(TooLarge, 400, 400),
    Row(FarmError, 400, 400),
)
_MESSAGES = {
    400: "Invalid request",
    401: "Invalid or missing API key",
    402: "Insufficient balance",
    403: "Forbidden",
    404: "Not found",
    429: "Rate limit exceeded",
    500: "Internal server error",
    503: "Service unavailable",
}


def render_error(error: Exception) -> Reply:
    """Any error of the farm as apixo answers it; an unknown one is a 500 without details."""
    row = row_of(_ERRORS, error)
    if row is None:
        return Reply(500, envelope({"error": _MESSAGES[500]}, 500, _MESSAGES[500]))
    # the field is already part of apixo's sentences
    detail = getattr(error, "detail", "") or str(error)
    field = getattr(error, "field", None)
    detail = f"{field}: {detail}" if field and field not in detail else detail
    return Reply(row.status, envelope({"error": detail}, row.code, _MESSAGES[row.code]), retry_headers(error))


def parse_error(status: int, body: Any, headers: Mapping[str, str] | None = None) -> FarmError | None:
    """The farm's error for an answer, None when it is none."""
    code = body.get("code") if isinstance(body, Mapping) else None
    code = code if isinstance(code, int) and code != 200 else status
    message = data_of(body).get("error") or (body.get("message") if isinstance(body, Mapping) else "") or ""
    return error_of(_ERRORS, code, str(message), headers)
