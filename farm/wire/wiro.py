"""The wiro.ai dialect, both directions: Run bodies and errors. Pure.

What surprises: everything is a POST; numbers and times are strings; the model is a path of owner and project. Tasks are
in wiro_task, signatures and body sniffing in wiro_auth, the WebSocket's frames in wiro_socket.
"""

from collections.abc import Mapping
from typing import Any

from farm.jobs.draft import Draft, Source
from farm.jobs.errors import (
    Conflict,
    FarmError,
    Forbidden,
    InvalidRequest,
    ModelUnavailable,
    NotFound,
    PaymentRequired,
    TooMany,
    Unauthorized,
    Unavailable,
)
from farm.wire import lora_words, model_ids
from farm.wire.answers import address_of, aspect_word, compact, plain_number
from farm.wire.error_table import Row, error_of, retry_headers, row_of
from farm.wire.http import Unreadable
from farm.wire.json_body import keepable
from farm.wire.report import Reply
from farm.wire.words import Fields, as_source, is_address, is_unset
from models.catalog import resolution_word

DIALECT = "wiro"
NO_MODEL = "slug-owner-project-not-exist"
NOT_OFFERED = "tool-not-accessible"
NO_ADDRESS = "Error parsing url."
NO_TASK = "There is no task yet."
NOT_CANCELLABLE = "Task is not in a cancellable state."

_NAMES = {
    "image": "inputImageUrl",
    "last_image": "inputImageLastUrl",
    "video": "inputVideoUrl",
    "audio": "inputAudioUrl",
    "prompt": "prompt",
    "negative_prompt": "negativePrompt",
    "resolution": "resolution",
    "aspect": "aspectRatio",
    "frames": "numFrames",
    "seconds": "duration",
    "fps": "fps",
    "steps": "steps",
    "guidance": "scale",
    "shift": "shift",
    "seed": "seed",
    "webhook_url": "callbackUrl",
}
#: role -> the parameters that may carry it: a file, a URL, or the name of a file uploaded before
_ROLES = {
    "image": ("inputImageUrl", "inputImage"),
    "last_image": ("inputImageLastUrl", "inputImageLast"),
    "video": ("inputVideoUrl", "inputVideo"),
    "audio": ("inputAudioUrl", "inputAudio"),
}


def parse_create(model: str, raw: Mapping[str, Any], files: Mapping[str, Source] | None = None) -> Draft:
    """A Run body for "owner/project", with the files of a multipart body by parameter name.

    A text that is no address becomes Source(upload=<that text>): the name or id of a file uploaded before.
    Raises InvalidRequest; NotFound for a model that wiro does not have either.
    """
    meaning = model_ids.meaning(DIALECT, model)
    if meaning is None:
        raise NotFound(NO_MODEL)
    given = Fields(raw)
    lora_words.refuse(given)
    inputs = {role: source for role, names in _ROLES.items() if (source := _source(given, names, files or {}))}
    if meaning.task == "i2v" and "image" not in inputs:
        raise InvalidRequest("required", "inputImageUrl")
    return Draft(
        prompt=given.text("prompt"),
        model=meaning.model,
        task=meaning.task,
        negative_prompt=given.text("negativePrompt"),
        resolution=given.resolution("resolution"),
        aspect=given.aspect("aspectRatio", "ratio"),
        frames=given.integer("numFrames"),
        seconds=given.number("duration"),
        fps=given.integer("fps"),
        steps=given.integer("steps"),
        guidance=given.number("scale"),
        shift=given.number("shift"),
        seed=given.seed("seed"),
        inputs=inputs,
        webhook_url=given.callback("callbackUrl"),
        dialect=DIALECT,
        dialect_data={"model": model_ids.canonical(DIALECT, model), "request": keepable(raw)},
        field_names=_NAMES,
    )


def _source(given: Fields, names: tuple[str, ...], files: Mapping[str, Source]) -> Source | None:
    for name in names:
        if name in files:
            return files[name]
        # several URLs may come in one text; these models take one file of a kind
        first = next(iter(given.texts(name)), None)
        if first is not None and first[:5].lower() != "data:":
            first = first.split(",")[0].strip()
        if first:
            return as_source(first) if is_address(first) else Source(upload=first)
    return None


def render_create(draft: Draft) -> tuple[str, dict[str, Any]]:
    """("owner/project", Run body). Raises ModelUnavailable when wiro has no model for the draft."""
    lora_words.refuse_draft(draft)
    model = model_ids.dialect_model(DIALECT, draft.model or "", draft.task)
    if model is None:
        raise ModelUnavailable(f"wiro renders no {draft.model}", "model")
    resolution, aspect = draft.resolution, draft.aspect
    if draft.width and draft.height:
        resolution = resolution or resolution_word(draft.width, draft.height)
        aspect = aspect or draft.width / draft.height
    sources = {names[0]: draft.inputs.get(role) for role, names in _ROLES.items()}
    asked = {name: url for name, source in sources.items() if (url := address_of(source))}
    return model, compact(
        asked
        | {
            "prompt": draft.prompt,
            "negativePrompt": draft.negative_prompt,
            "resolution": resolution.upper() if resolution else None,
            "aspectRatio": aspect_word(aspect) if aspect else None,
            "numFrames": draft.frames,
            "duration": None if draft.seconds is None else plain_number(draft.seconds),
            "scale": None if draft.guidance is None else str(draft.guidance),
            "steps": draft.steps,
            "fps": draft.fps,
            "shift": draft.shift,
            "seed": None if draft.seed is None else str(draft.seed),
            "callbackUrl": draft.webhook_url,
        }
    )


def is_request_of(parameters: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether a task's `parameters` are those of this Run body: by its callback, which is no other's, else by prompt
    and seed."""
    names = ("callbackUrl",) if body.get("callbackUrl") else ("prompt", "seed")
    return all(name in body and str(parameters.get(name)) == str(body[name]) for name in names)


def render_created(task_id: str, token: str) -> dict[str, Any]:
    """The answer to Run."""
    return {"errors": [], "taskid": task_id, "socketaccesstoken": token, "result": True}


def parse_created(body: Any) -> tuple[str, str]:
    """(taskid, socketaccesstoken). Raises the error that the body stands for, or Unreadable."""
    if isinstance(body, Mapping) and body.get("taskid"):
        return str(body["taskid"]), str(body.get("socketaccesstoken") or "")
    raise parse_error(200, body) or Unreadable("the answer carries no task id")


#: application errors travel with HTTP 200, authorization, rate and outages with their own status
_ERRORS = (
    Row(Unauthorized, 98, 401),
    Row(Forbidden, 98, 401),
    Row(PaymentRequired, 97, 200),
    Row(TooMany, 96, 429),
    Row(NotFound, 1, 200),
    Row(Unavailable, 503, 503),
    Row(InvalidRequest, 0, 200),
    Row(Conflict, 1, 200),
    Row(FarmError, 0, 200),
)


def failure(code: int, message: str) -> dict[str, Any]:
    """The body of an answer that failed."""
    return {"result": False, "errors": [{"code": code, "message": message}]}


def render_error(error: Exception) -> Reply:
    """Any error of the farm as wiro answers it; an unknown one is a 500 without details."""
    if isinstance(error, ModelUnavailable):
        return Reply(200, failure(1, NOT_OFFERED))
    row = row_of(_ERRORS, error)
    if row is None:
        return Reply(500, failure(0, "Internal server error"))
    message = str(error)
    if isinstance(error, InvalidRequest) and error.field:
        message = f"Request parameter [{error.field}] {error.detail}"
    # wiro's bad keys carry the general code and HTTP 401; an outage has no code of its own
    code = 0 if row.status in (401, 503) else row.code
    return Reply(row.status, failure(code, message), retry_headers(error))


def parse_error(status: int, body: Any, headers: Mapping[str, str] | None = None) -> FarmError | None:
    """The farm's error for an answer, None when it is none."""
    errors = body.get("errors") if isinstance(body, Mapping) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    if first is None and 200 <= status < 300 and not (isinstance(body, Mapping) and body.get("result") is False):
        return None
    fields = first if isinstance(first, Mapping) else {"message": first}
    message = "" if is_unset(fields.get("message")) else str(fields["message"])
    if message == NOT_OFFERED:
        return ModelUnavailable(message)
    code = str(fields.get("code", 0))
    number = int(code) if code.isascii() and code.isdecimal() and len(code) < 6 else 0
    if status == 401 or number == 99:
        number = 98
    elif status == 429:
        number = 96
    elif status >= 500:
        number = 503
    return error_of(_ERRORS, number, message, headers)
