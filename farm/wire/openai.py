"""OpenAI's /v1/videos, both directions. Pure: JSON values in, farm vocabulary out, and back.

What surprises: `seconds` is a string; a cancelled job is a failed one; progress is a whole percentage; OpenAI's own
model names mean whatever the farm renders by default, any other name is a catalog id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from farm.jobs.draft import Draft, Source
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
from farm.wire import lora_words
from farm.wire.answers import address_of, compact, plain_number, positive, share, state_word
from farm.wire.error_table import Row, error_of, retry_headers, row_of
from farm.wire.http import Unreadable
from farm.wire.json_body import keepable
from farm.wire.model_ids import OPENAI_DEFAULTS
from farm.wire.report import Fault, Output, Reply, Report, state_of
from farm.wire.words import Fields, as_number, as_source, as_text, as_url, is_unset, parse_nested

DIALECT = "openai"
VARIANTS = ("video", "thumbnail")
#: what OpenAI's own API takes
SIZES = ("720x1280", "1280x720", "1024x1792", "1792x1024")
SECONDS = ("4", "8", "12", "16", "20")

_WORDS = {
    State.WAITING: "queued",
    State.QUEUED: "queued",
    State.RUNNING: "in_progress",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}
_STATES = {
    "queued": State.QUEUED,
    "in_progress": State.RUNNING,
    "completed": State.SUCCEEDED,
    "failed": State.FAILED,
}
_NAMES = {"image": "input_reference", "width": "size", "height": "size", "frames": "seconds"}


def parse_create(raw: Mapping[str, Any], files: Sequence[tuple[str, Source]] = ()) -> Draft:
    """A create body; `files` are those of a multipart body, by the names of their parts. Beyond OpenAI's five fields,
    the farm's names for the usual knobs are read too; what is not read is refused. Raises InvalidRequest."""
    given = Fields(raw)
    prompt = given.text("prompt")
    if prompt is None:
        raise InvalidRequest("required", "prompt")
    model = given.text("model")
    width, height = _size(given.text("size"))
    source = _reference(given, files)
    draft = Draft(
        prompt=prompt,
        model=None if model is None or model.strip().lower() in OPENAI_DEFAULTS else model.strip(),
        negative_prompt=given.text("negative_prompt"),
        width=width,
        height=height,
        seconds=given.number("seconds"),
        frames=given.integer("frames", "num_frames"),
        fps=given.integer("fps"),
        steps=given.integer("steps", "num_inference_steps"),
        guidance=given.number("guidance", "guidance_scale"),
        seed=given.seed("seed"),
        inputs={} if source is None else {"image": source},
        loras=lora_words.parse(given),
        metadata=_metadata(given),
        dialect=DIALECT,
        dialect_data=compact({"model": model, "seconds": given.number("seconds"), "request": keepable(raw)}),
        field_names=_NAMES,
        nearest=_is_of_fixed_values(given),
    )
    _check_inert(given)
    given.refuse_rest("is no field of a video; leave it out")
    return draft


def parse_remix(raw: Mapping[str, Any]) -> str:
    """The prompt of POST /v1/videos/{id}/remix. Raises InvalidRequest."""
    given = Fields(raw)
    prompt = given.text("prompt")
    given.refuse_rest("a remix takes a prompt; everything else is the video's own")
    if prompt is None:
        raise InvalidRequest("required", "prompt")
    return prompt


@dataclass(frozen=True)
class Derived:
    """A video that is made from another one: the id of one that is completed, or a file."""

    prompt: str
    video_id: str | None
    file: Source | None
    seconds: float | None = None


def parse_derived(raw: Mapping[str, Any], files: Sequence[tuple[str, Source]] = (), *, longer: bool) -> Derived:
    """The body of POST /v1/videos/edits, or with `longer` of /v1/videos/extensions. Raises InvalidRequest."""
    given = Fields(raw)
    prompt, value = given.text("prompt"), parse_nested(given.find("video")[0])
    seconds = given.number("seconds") if longer else None
    given.refuse_rest("is not read here; leave it out")
    if prompt is None:
        raise InvalidRequest("required", "prompt")
    strangers = [name for name, _ in files if name.partition("[")[0] != "video"]
    if strangers:
        raise InvalidRequest("no file is read under this name; send the clip as video", strangers[0][:80])
    named = Fields(value, "video.") if isinstance(value, Mapping) else Fields({"id": value}, "video.")
    video_id = named.text("id")
    named.refuse_rest("is not known here; give the id of a completed video")
    if (video_id is not None) + len(files) != 1:
        raise InvalidRequest("give one video: the id of a completed one, or a file", "video")
    return Derived(prompt, video_id, files[0][1] if files else None, seconds)


def derived(draft: Draft, *, of: str | None, kind: str, seconds: float | None = None) -> Draft:
    """A draft made from another video, as this dialect remembers it. `of`: that video's id."""
    model = draft.model
    asked = compact({"prompt": draft.prompt, f"{kind}_from_video_id": of})
    return replace(
        draft,
        dialect=DIALECT,
        dialect_data=compact({"model": model, "seconds": seconds, "request": asked}),
        field_names={**_NAMES, "video": "video", "image": "video"},
    )


def _is_of_fixed_values(given: Fields) -> bool:
    """Whether a client asks for nothing but what OpenAI's own API takes: such a one can ask for nothing else."""
    others = given.integer("frames", "num_frames"), given.integer("fps")
    return given.text("size") in (None, *SIZES) and given.text("seconds") in (None, *SECONDS) and others == (None, None)


def _metadata(given: Fields) -> dict[str, str]:
    value = parse_nested(given.find("metadata")[0])
    if is_unset(value):
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequest("must be an object of strings", "metadata")
    return {str(name): as_text(text, f"metadata.{name}") or "" for name, text in value.items()}


def _check_inert(given: Fields) -> None:
    """What clients send along and what asks for nothing: who the end user is, and one video."""
    given.text("user", "safety_identifier")
    if given.integer("n") not in (None, 1):
        raise InvalidRequest("one request makes one video; send it again for another", "n")


def _size(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    # some clients write 1280*720
    wide, mark, high = text.strip().lower().replace("*", "x").partition("x")
    if not (mark and wide.isdecimal() and high.isdecimal() and len(text) < 16):
        raise InvalidRequest("must be WIDTHxHEIGHT in pixels, like 1280x720", "size")
    return int(wide), int(high)


def _reference(given: Fields, files: Sequence[tuple[str, Source]]) -> Source | None:
    """The picture, whichever way it comes. More than one, or a file under another name, is refused."""
    for name, _ in files:
        if name.partition("[")[0] != "input_reference":
            raise InvalidRequest("no file is read under this name; send the picture as input_reference", name[:80])
    value, field = parse_nested(given.find("input_reference")[0]), "input_reference"
    values = [one for one in (value if isinstance(value, list) else [value]) if not is_unset(one)]
    if len(values) + len(files) > 1:
        raise InvalidRequest("give one picture", field)
    if files:
        return files[0][1]
    if not values:
        return None
    if not isinstance(values[0], Mapping):
        address = as_url(values[0], field)
        return None if address is None else as_source(address)
    reference = Fields(values[0], f"{field}.")
    url, file_id = reference.url("image_url"), reference.text("file_id")
    reference.refuse_rest("is not known here; give an image_url, or send the picture as a file")
    if (url is None) == (file_id is None):
        raise InvalidRequest("give an image_url, or send the picture as a file", field)
    if url is not None:
        return as_source(url)
    # ids of POST /v1/uploads; intake refuses every other
    return Source(upload=file_id)


def render_create(draft: Draft) -> dict[str, Any]:
    """The JSON create body for a draft."""
    source = draft.inputs.get("image")
    return compact(
        {
            "model": draft.model,
            "prompt": draft.prompt,
            "input_reference": {"image_url": url} if (url := address_of(source)) else None,
            "size": f"{draft.width}x{draft.height}" if draft.width and draft.height else None,
            "seconds": None if draft.seconds is None else str(plain_number(draft.seconds)),
            "negative_prompt": draft.negative_prompt,
            "frames": draft.frames,
            "fps": draft.fps,
            "steps": draft.steps,
            "guidance": draft.guidance,
            "seed": draft.seed,
            "loras": [dict(lora) for lora in draft.loras],
        }
    )


def render_status(report: Report) -> dict[str, Any]:
    """The video object. size and seconds are null while an input that decides them is not here."""
    share = 1.0 if report.state is State.SUCCEEDED else report.progress or 0.0
    asked = report.request if isinstance(report.request, Mapping) else {}
    return {
        "id": report.id,
        "object": "video",
        "model": report.model,
        "status": state_word(_WORDS, report.state),
        "progress": round(share * 100),
        "created_at": (report.created_ms or 0) // 1000,
        "completed_at": None if report.finished_ms is None else report.finished_ms // 1000,
        "expires_at": None,
        "prompt": report.prompt,
        "size": None if report.size is None else "{}x{}".format(*report.size),
        "seconds": None if report.seconds is None else str(plain_number(round(report.seconds, 3))),
        "remixed_from_video_id": asked.get("remixed_from_video_id"),
        **({"warnings": list(report.notes)} if report.notes else {}),
        "error": {"code": str(report.fault.code), "message": report.fault.message} if report.fault else None,
    }


def parse_status(body: Any) -> Report:
    """A video object. Raises the error that the body stands for when it is none. Its file is at content_path."""
    if not isinstance(body, Mapping) or not isinstance(body.get("id"), str) or not body.get("status"):
        refusal = parse_error(400, body) if isinstance(body, Mapping) and body.get("error") else None
        raise refusal or Unreadable("the answer carries no video")
    state, unknown_word = state_of(_STATES, body.get("status"))
    fault = None
    if state is State.FAILED:
        given = body.get("error")
        error = given if isinstance(given, Mapping) else {}
        code = str(error.get("code"))
        known = FaultCode(code) if code in FaultCode.__members__.values() else FaultCode.PROVIDER_FAILED
        fault = Fault(known, str(error.get("message") or ""))
        state = State.CANCELLED if known is FaultCode.CANCELLED else state
    progress = body.get("progress")
    try:
        size = _size(str(body.get("size") or "")) if body.get("size") else None
    except InvalidRequest:
        size = None
    wide, high = size or (None, None)
    done = state is State.SUCCEEDED
    return Report(
        id=body["id"],
        state=state,
        model=str(body.get("model") or ""),
        progress=share(progress),
        outputs=(Output(url=content_path(body["id"]), content_type="video/mp4"),) if done else (),
        fault=fault,
        unknown_word=unknown_word,
        prompt=body.get("prompt") if isinstance(body.get("prompt"), str) else None,
        size=(wide, high) if wide and high else None,
        seconds=_seconds(body.get("seconds")),
        created_ms=_ms(body.get("created_at")),
        finished_ms=_ms(body.get("completed_at")),
    )


def _seconds(value: Any) -> float | None:
    try:
        return as_number(value, "seconds")
    except InvalidRequest:
        return None


def content_path(video_id: str) -> str:
    """Where the file is: a path, because OpenAI serves it behind the same key."""
    return f"/v1/videos/{video_id}/content"


render_created = render_status


def parse_created(body: Any) -> str:
    """The video's id. Raises as parse_status."""
    return parse_status(body).id


def render_list(reports: Sequence[Report], *, more: bool) -> dict[str, Any]:
    """A page of videos; `more`: another page follows."""
    return {
        "object": "list",
        "data": [render_status(report) for report in reports],
        "first_id": reports[0].id if reports else None,
        "last_id": reports[-1].id if reports else None,
        "has_more": more,
    }


def render_deleted(video_id: str) -> dict[str, Any]:
    """The answer to a deletion."""
    return {"id": video_id, "object": "video.deleted", "deleted": True}


def parse_deleted(body: Any) -> bool:
    """Whether the answer says so. Raises as parse_status does."""
    if isinstance(body, Mapping) and body.get("deleted") is True:
        return True
    error = parse_error(400, body) if isinstance(body, Mapping) and body.get("error") else None
    raise error or Unreadable("the answer does not say that it is gone")


def _ms(value: Any) -> int | None:
    seconds = positive(value)
    return None if seconds is None else seconds * 1000


#: kinds and the words of OpenAI's error object; the code column is the HTTP status
_ERRORS = (
    Row(Unauthorized, 401, 401),
    Row(PaymentRequired, 402, 402),
    Row(Forbidden, 403, 403),
    Row(NotFound, 404, 404),
    Row(Conflict, 409, 409),
    Row(TooLarge, 413, 413),
    Row(TooMany, 429, 429),
    Row(Unavailable, 503, 503),
    Row(InvalidRequest, 400, 400),
    Row(FarmError, 400, 400),
)
_TYPES = {401: "invalid_request_error", 402: "insufficient_quota", 429: "rate_limit_error", 500: "server_error"}
_CODES = {401: "invalid_api_key", 402: "insufficient_quota", 429: "rate_limit_exceeded", 404: "not_found"}
_NO_MODEL = "model_not_found"


def render_error(error: Exception) -> Reply:
    """Any error of the farm as OpenAI answers it; an unknown one is a 500 without details."""
    row = row_of(_ERRORS, error)
    if row is None:
        return Reply(500, _error("The server had an error.", "server_error", None, None))
    code = _NO_MODEL if isinstance(error, ModelUnavailable) else _CODES.get(row.status)
    kind = _TYPES.get(row.status, "invalid_request_error" if row.status < 500 else "server_error")
    detail = getattr(error, "detail", None) or str(error)
    field = getattr(error, "field", None)
    return Reply(row.status, _error(detail, kind, field, code), retry_headers(error))


def _error(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def parse_error(status: int, body: Any, headers: Mapping[str, str] | None = None) -> FarmError | None:
    """The farm's error for an answer, None when it is none."""
    given = body.get("error") if isinstance(body, Mapping) else None
    error = given if isinstance(given, Mapping) else {}
    message, param = str(error.get("message") or ""), error.get("param")
    if error.get("code") == _CODES[402] and status == 429:
        # OpenAI says it of an empty account, too; waiting does not fill it
        return PaymentRequired(message)
    if error.get("code") == _NO_MODEL and not 200 <= status < 300:
        return ModelUnavailable(message, param if isinstance(param, str) else None)
    found = error_of(_ERRORS, status, message, headers)
    if isinstance(found, InvalidRequest) and isinstance(param, str):
        found.field = param
    return found
