"""The kie.ai dialect, both directions. Pure: JSON values in, farm vocabulary out, and back.

What surprises: HTTP 200 with the verdict in `code`; `msg` in one document and `message` in the other (both are always
sent, either is read); `param` and `resultJson` are JSON inside strings; failCode is a string.
"""

import base64
import hashlib
import hmac
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
from farm.wire.answers import address_of, aspect_word, compact, dump, plain_number, positive, share, state_word
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

DIALECT = "kie"
NO_ACCESS = "You do not have access permissions"
NO_RECORD = "recordInfo is null"
_DONE = "Playground task completed successfully."
_FAILED = "Playground task failed."

_WORDS = {
    State.WAITING: "waiting",
    State.QUEUED: "queuing",
    State.RUNNING: "generating",
    State.SUCCEEDED: "success",
    State.FAILED: "fail",
    State.CANCELLED: "fail",
}
_STATES = {
    "waiting": State.WAITING,
    "queuing": State.QUEUED,
    "generating": State.RUNNING,
    "success": State.SUCCEEDED,
    "fail": State.FAILED,
    "failed": State.FAILED,
}
#: our field -> the name in the request
_NAMES = {
    "image": "input.image_url",
    "video": "input.video_url",
    "audio": "input.audio_url",
    "last_image": "input.end_image_url",
    "prompt": "input.prompt",
    "negative_prompt": "input.negative_prompt",
    "resolution": "input.resolution",
    "aspect": "input.aspect_ratio",
    "seed": "input.seed",
    "frames": "input.num_frames",
    "seconds": "input.duration",
    "fps": "input.frames_per_second",
    "steps": "input.num_inference_steps",
    "guidance": "input.guidance_scale",
    "shift": "input.shift",
    "webhook_url": "callBackUrl",
}


def parse_create(raw: Mapping[str, Any]) -> Draft:
    """A createTask body. Raises InvalidRequest; ModelUnavailable for an id that kie does not have either."""
    top = Fields(raw)
    model = top.text("model")
    if model is None:
        raise InvalidRequest("required", "model")
    meaning = model_ids.meaning(DIALECT, model)
    if meaning is None:
        raise ModelUnavailable(f"the model {model[:100]!r} is not supported", "model")
    given = Fields(raw.get("input"), "input.")
    lora_words.refuse(top, given)
    images = given.urls("image_url", "image_urls", "first_frame_url")
    sources = {
        "image": images[0] if images else None,
        "video": next(iter(given.urls("video_url", "video_urls")), None),
        "audio": given.url("audio_url"),
        "last_image": given.url("end_image_url", "last_frame_url"),
    }
    return Draft(
        prompt=given.text("prompt"),
        model=meaning.model,
        task=meaning.task,
        negative_prompt=given.text("negative_prompt"),
        resolution=given.resolution("resolution"),
        aspect=given.aspect("aspect_ratio", "ratio"),
        frames=given.integer("num_frames"),
        seconds=given.number("duration"),
        fps=given.integer("frames_per_second"),
        steps=given.integer("num_inference_steps"),
        guidance=given.number("guidance_scale"),
        shift=given.number("shift"),
        # kie documents 0 as its default: nobody chose it
        seed=given.seed("seed", no_seed=(-1, 0)),
        inputs={role: as_source(url) for role, url in sources.items() if url},
        webhook_url=top.callback("callBackUrl", "callbackUrl", "callback_url"),
        dialect=DIALECT,
        dialect_data={"model": model_ids.canonical(DIALECT, model), "request": keepable(raw)},
        field_names=_NAMES,
    )


def render_create(draft: Draft) -> dict[str, Any]:
    """The createTask body for a draft. Raises ModelUnavailable when kie has no model for it."""
    lora_words.refuse_draft(draft)
    if draft.seed == 0:
        raise InvalidRequest("to kie, 0 is no seed at all", "seed")
    model = model_ids.dialect_model(DIALECT, draft.model or "", draft.task)
    if model is None:
        raise ModelUnavailable(f"kie renders no {draft.model}", "model")
    resolution, aspect = draft.resolution, draft.aspect
    if draft.width and draft.height:
        resolution = resolution or resolution_word(draft.width, draft.height)
        aspect = aspect or draft.width / draft.height
    asked = compact(
        {
            "prompt": draft.prompt,
            "image_url": _url(draft, "image"),
            "video_url": _url(draft, "video"),
            "audio_url": _url(draft, "audio"),
            "end_image_url": _url(draft, "last_image"),
            "negative_prompt": draft.negative_prompt,
            "resolution": resolution,
            "aspect_ratio": aspect_word(aspect) if aspect else None,
            "duration": None if draft.seconds is None else str(plain_number(draft.seconds)),
            "num_frames": draft.frames,
            "frames_per_second": draft.fps,
            "num_inference_steps": draft.steps,
            "guidance_scale": draft.guidance,
            "shift": draft.shift,
            "seed": draft.seed,
        }
    )
    return compact({"model": model, "callBackUrl": draft.webhook_url, "input": asked})


def _url(draft: Draft, role: str) -> str | None:
    return address_of(draft.inputs.get(role))


def envelope(data: Any, code: int = 200, message: str = "success") -> dict[str, Any]:
    """The object around every answer. kie sends its message under two names."""
    return {"code": code, "msg": message, "message": message, "data": data}


def parse_envelope(body: Any) -> tuple[int, str, Any]:
    """(code, message, data) of any answer; code 0 when it is no kie answer at all."""
    if not isinstance(body, Mapping):
        return 0, "", None
    code = body.get("code")
    return code if isinstance(code, int) else 0, str(body.get("msg") or body.get("message") or ""), body.get("data")


def render_created(task_id: str) -> dict[str, Any]:
    """The answer to createTask."""
    return envelope({"taskId": task_id})


def parse_created(body: Any) -> str:
    """The task id. Raises the error that the body stands for, or Unreadable when it has none."""
    code, _, data = parse_envelope(body)
    task_id = (data.get("taskId") or data.get("task_id")) if isinstance(data, Mapping) else None
    if code == 200 and isinstance(task_id, str) and task_id:
        return task_id
    raise parse_error(200, body) or Unreadable("the answer carries no task id")


def render_status(report: Report) -> dict[str, Any]:
    """The recordInfo answer: always its ten documented keys."""
    return envelope(_record(report))


def _record(report: Report) -> dict[str, Any]:
    fault = report.fault
    return {
        "taskId": report.id,
        "model": report.model,
        "state": state_word(_WORDS, report.state),
        "param": report.request if isinstance(report.request, str) else dump(report.request),
        "resultJson": dump({"resultUrls": list(report.urls)}) if report.state is State.SUCCEEDED else "",
        "failCode": str(fault_number(fault.code, 500)) if fault else "",
        "failMsg": fault.message if fault else "",
        "completeTime": report.finished_ms,
        "createTime": report.created_ms,
        "updateTime": report.updated_ms,
    }


def parse_status(body: Any) -> Report:
    """A recordInfo answer, or a callback. Raises the error that the envelope stands for when it holds no task."""
    code, message, data = parse_envelope(body)
    task_id = (data.get("taskId") or data.get("task_id")) if isinstance(data, Mapping) else None
    if code not in (200, 408, 501) or not task_id:
        raise parse_error(200, body) or Unreadable("the answer carries no task")
    assert isinstance(data, Mapping)
    state, unknown_word = state_of(_STATES, data.get("state"))
    if code in (408, 501):
        state = State.FAILED
    fault = None
    if state is State.FAILED:
        number = data.get("failCode") or ("500" if code == 200 else str(code))
        fault = Fault(fault_of(number), str(data.get("failMsg") or message))
        state = State.CANCELLED if fault.code is FaultCode.CANCELLED else state
    request = parse_nested(data.get("param") or {})
    progress = data.get("progress")
    return Report(
        id=str(task_id),
        state=state,
        model=str(data.get("model") or ""),
        outputs=tuple(Output(url=url) for url in _result_urls(data.get("resultJson"))),
        fault=fault,
        unknown_word=unknown_word,
        request=request if isinstance(request, (Mapping, str)) else {},
        progress=share(progress),
        created_ms=positive(data.get("createTime")),
        updated_ms=positive(data.get("updateTime")),
        finished_ms=positive(data.get("completeTime")),
        credits_micro=credits_from(data.get("consumeCredits")),
        credits_left_micro=credits_from(data.get("remainedCredits")),
    )


def _result_urls(value: Any) -> tuple[str, ...]:
    result = parse_nested(value)
    if not isinstance(result, Mapping):
        return ()
    for key in ("resultUrls", "videoUrls", "videoUrl", "resultUrl"):
        found = result.get(key)
        if isinstance(found, str) and found:
            return (found,)
        if isinstance(found, list) and found:
            return tuple(str(url) for url in found)
    return ()


def render_callback(report: Report) -> dict[str, Any]:
    """The webhook body. Both spellings of the id: kie's own verification sample reads `task_id`."""
    done = report.state is State.SUCCEEDED
    started = report.started_ms or report.created_ms or 0
    data = _record(report) | {
        "task_id": report.id,
        "consumeCredits": credits_number(report.credits_micro or 0),
        "remainedCredits": credits_number(report.credits_left_micro or 0),
        "costTime": max((report.finished_ms or started) - started, 0) // 1000,
    }
    return envelope(data, 200 if done else 501, _DONE if done else _FAILED)


parse_callback = parse_status


def sign(key: str, task_id: str, timestamp_s: int) -> dict[str, str]:
    """The headers of a webhook of an account that has a webhook key. They cover the id and the time, not the body."""
    digest = hmac.new(key.encode(), f"{task_id}.{timestamp_s}".encode(), hashlib.sha256).digest()
    return {"X-Webhook-Timestamp": str(timestamp_s), "X-Webhook-Signature": base64.b64encode(digest).decode()}


def verify(key: str, task_id: str, headers: Mapping[str, str], now_s: float, tolerance_s: float = 300) -> bool:
    """Whether a callback's headers were made with `key` within tolerance_s of now. They do not cover the body."""
    given = {name.lower(): value for name, value in headers.items()}
    timestamp, signature = given.get("x-webhook-timestamp", ""), given.get("x-webhook-signature", "")
    if not timestamp.isdecimal() or len(timestamp) > 12 or abs(now_s - int(timestamp)) > tolerance_s:
        return False
    return hmac.compare_digest(sign(key, task_id, int(timestamp))["X-Webhook-Signature"], signature)


def render_balance(credits_micro: int | None) -> dict[str, Any]:
    """The answer to a credit request; `credits_micro` None: a tenant without an account."""
    return envelope(UNLIMITED if credits_micro is None else credits_number(credits_micro))


def parse_balance(body: Any) -> int | None:
    """Millionths of a credit; None when the answer says none."""
    return credits_from(parse_envelope(body)[2])


def render_uploaded(
    *, name: str, path: str, url: str, size: int, content_type: str, uploaded_at: str
) -> dict[str, Any]:
    """The answer of the three file uploads; `uploaded_at` is ISO 8601."""
    stored = {"fileName": name, "filePath": path, "downloadUrl": url, "fileSize": size}
    return {"success": True} | envelope(stored | {"mimeType": content_type, "uploadedAt": uploaded_at})


def parse_uploaded(body: Any) -> str:
    """Where an uploaded file is. Raises as parse_created does."""
    code, _, data = parse_envelope(body)
    url = data.get("downloadUrl") if isinstance(data, Mapping) else None
    if code == 200 and isinstance(url, str) and url:
        return url
    raise parse_error(200, body) or Unreadable("the answer carries no address of the file")


#: kie says almost everything with HTTP 200; a bad key, a rate and an outage are told to the client's HTTP layer as well
_ERRORS = (
    Row(Unauthorized, 401, 401),
    Row(Forbidden, 401, 401),
    Row(PaymentRequired, 402, 200),
    Row(NotFound, 404, 200),
    Row(TooMany, 429, 429),
    Row(Unavailable, 455, 503),
    Row(ModelUnavailable, 505, 200),
    Row(InvalidRequest, 422, 200),
    Row(FarmError, 422, 200),
)


def render_error(error: Exception, *, record: bool = False) -> Reply:
    """The answer to a request that failed; `record`: it asked for a task, whose absence kie calls 422."""
    if record and isinstance(error, NotFound):
        return Reply(200, envelope(None, 422, NO_RECORD))
    row = row_of(_ERRORS, error)
    if row is None:
        return Reply(500, envelope(None, 500, "Internal server error"))
    message = NO_ACCESS if isinstance(error, Unauthorized) else str(error)
    return Reply(row.status, envelope(None, row.code, message), retry_headers(error))


def parse_error(status: int, body: Any, headers: Mapping[str, str] | None = None) -> FarmError | None:
    """The farm's error for an answer, None when it is none. The codes of failed tasks belong to parse_status."""
    code, message, _ = parse_envelope(body)
    if message == NO_RECORD:
        return NotFound(message)
    return error_of(_ERRORS, code if code not in (0, 200) else status, message, headers)
