"""The farm's own JSON, asking: a create body and a Draft, both directions. What it answers is own_views.py. Pure; the
gateway, its OpenAPI document and farm.client all use these types, so they cannot disagree.

Strict: a wrong type or an unknown field is named, never guessed at.
"""

import base64
import codecs
import re
from datetime import UTC, datetime
from difflib import get_close_matches
from fractions import Fraction
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from farm.jobs.draft import Draft, Source
from farm.jobs.errors import InvalidRequest, RequestError
from farm.jobs.states import Tier
from farm.jobs.validation_words import sentence
from farm.storage.object_keys import UPLOAD_ID
from farm.wire.json_body import check_items
from models.catalog import MAX_PROMPT_CHARS, MAX_SEED, ROLES
from models.catalog.options import OPTIONS
from models.weights.lora_file import MAX_SCALE

DIALECT = "farm"
MAX_IDEMPOTENCY_KEY = 255
#: the pattern of a whole Idempotency-Key
IDEMPOTENCY_KEY = f"[ -~]{{1,{MAX_IDEMPOTENCY_KEY}}}"
#: our field -> the name in the request, where they differ
NAMES = {
    "aspect": "aspect_ratio",
    "seconds": "duration_s",
    "deadline_ms": "deadline",
    "start_by_ms": "start_by",
    "idempotency_key": "Idempotency-Key",
}
#: told of one body at once; the rest would only repeat itself
_MAX_ERRORS = 20
_OPTIONS = "; ".join(f"{name}: {says}" for name, says in OPTIONS.items())
_M = TypeVar("_M", bound=BaseModel)


class InvalidBody(InvalidRequest):
    """Everything that is wrong with a body, as (field, what); the first is also `field` and `detail`."""

    def __init__(self, errors: tuple[tuple[str, str], ...]) -> None:
        super().__init__(errors[0][1], errors[0][0] or None)
        self.errors = errors


class BrokenJson(RequestError):
    """The body is no JSON."""

    slug = "broken-json"


class Strict(BaseModel):
    """A part of a request."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# --- asking for a job


class InputSource(Strict):
    """Where a picture or a clip comes from: one of an address, base64 text (a data: URI or bare), an upload's id."""

    url: str | None = Field(None, max_length=8192)
    base64: str | None = None
    upload: str | None = Field(None, max_length=64, json_schema_extra={"pattern": f"^{UPLOAD_ID}$"})

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(v is not None for v in (self.url, self.base64, self.upload)) != 1:
            raise ValueError("give exactly one of url, base64, upload")
        return self


def _source(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value[:5].lower() == "data:":
        return {"base64": value}
    if value.partition("://")[0].lower() in ("http", "https"):
        return {"url": value}
    raise ValueError('give an http(s) URL, a data: URI, or an object with one of "url", "base64", "upload"')


Given = Annotated[
    InputSource | None, BeforeValidator(_source, json_schema_input_type=Annotated[str, Field()] | InputSource | None)
]


class AskLora(Strict):
    """A LoRA that the job uses. scale: its strength; expert: "high", "low" or "both", for models with two experts."""

    lora: str = Field(min_length=1, max_length=64, description="name or id of one of yours (`GET /v1/loras`)")
    scale: float = Field(1.0, ge=-MAX_SCALE, le=MAX_SCALE)
    expert: Literal["both", "high", "low"] = "both"


class CreateJob(Strict):
    """A job to render. Everything but the prompt has a default, mostly the model's own (`GET /v1/models`)."""

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARS)
    model: str | None = Field(None, max_length=200, description="id of a model; left out: the farm's default")
    task: str | None = Field(None, max_length=40, description="one of the model's; left out: what the inputs make")
    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARS)
    image: Given = Field(None, description="first frame, character or reference: a URL, a data: URI, or an object")
    last_image: Given = Field(None, description="last frame, for models that take one")
    image_2: Given = Field(None, description="another reference, of VACE")
    image_3: Given = Field(None, description="another reference, of VACE")
    video: Given = Field(None, description="the clip that is followed (Animate) or redrawn (VACE)")
    mask: Given = Field(None, description="a picture, white where VACE draws the clip anew")
    mask_video: Given = Field(None, description="the same for each frame; to Animate's replace, the person")
    pose_video: Given = Field(None, description="Animate, preprocessed elsewhere: the skeletons, as long as the clip")
    face_video: Given = Field(None, description="with pose_video: the faces")
    background_video: Given = Field(None, description="with pose_video, to replace: the clip without the person")
    width: int | None = Field(None, ge=1, le=65536)
    height: int | None = Field(None, ge=1, le=65536)
    resolution: str | None = Field(None, max_length=20, description='instead of width and height: "480p", "720p"')
    aspect_ratio: str | None = Field(
        None, pattern=r"^[1-9][0-9]{0,4}:[1-9][0-9]{0,4}$", description='with resolution: "16:9"'
    )
    frames: int | None = Field(None, ge=1, le=100_000, description="4n+1")
    duration_s: float | None = Field(None, gt=0, le=3600, description="instead of frames")
    fps: int | None = Field(None, ge=1, le=1000)
    steps: int | None = Field(None, ge=1, le=10_000)
    guidance: float | None = Field(None, ge=0, le=100)
    guidance_2: float | None = Field(None, ge=0, le=100, description="of the second (low-noise) expert")
    shift: float | None = Field(None, ge=0, le=100)
    seed: int | None = Field(None, ge=-1, le=MAX_SEED, description="left out or -1: a random one, told in the answer")
    loras: list[AskLora] = Field(default_factory=list, max_length=64)
    options: dict[Annotated[str, Field(max_length=64)], str | float | bool | list[int] | None] = Field(
        default_factory=dict, max_length=16, description=_OPTIONS
    )
    priority: int | None = Field(None, ge=0, le=9, description="among your own jobs: 9 first, default 5")
    deadline: AwareDatetime | None = Field(None, description="breaks ties of priority; ISO 8601 with a time zone")
    tier: Literal["normal", "economy"] = Field(
        "normal",
        description="economy: runs where nothing normal can, and is cancelled (`expired`) unless it is finished by its "
        "deadline (default: a day); near that it becomes normal",
    )
    start_by: AwareDatetime | None = Field(
        None, description="a job that has not started by then is cancelled (`expired`) and costs nothing"
    )
    max_attempts: int | None = Field(None, ge=1, le=10)
    name: str | None = Field(None, max_length=200)
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] = Field(
        default_factory=dict, max_length=16
    )
    webhook_url: str | None = Field(None, max_length=2048)
    label: str | None = Field(None, min_length=1, max_length=100, description="your own word to list jobs by")
    external: Literal["never", "same", "family", "any"] | None = Field(
        None,
        description="what may be rendered by a provider when the farm is full: nothing, by the same weights, by what "
        "was made from them, by any model for the task; left out: what you agreed with the farm. It only narrows that",
    )


def parse_create(body: bytes, *, idempotency_key: str | None = None) -> Draft:
    """A POST /v1/jobs body. Raises BrokenJson, or InvalidBody naming every field that is wrong."""
    return draft_of(parse(CreateJob, body), idempotency_key=idempotency_key)


def draft_of(asked: CreateJob, *, idempotency_key: str | None = None) -> Draft:
    """What a body asks for, as every dialect says it."""
    return Draft(
        prompt=asked.prompt,
        model=asked.model,
        task=asked.task,
        negative_prompt=asked.negative_prompt,
        width=asked.width,
        height=asked.height,
        resolution=asked.resolution,
        aspect=_ratio(asked.aspect_ratio),
        frames=asked.frames,
        seconds=asked.duration_s,
        fps=asked.fps,
        steps=asked.steps,
        guidance=asked.guidance,
        guidance_2=asked.guidance_2,
        shift=asked.shift,
        seed=None if asked.seed == -1 else asked.seed,
        inputs={
            role: Source(url=given.url, base64=given.base64, upload=given.upload)
            for role in ROLES
            if (given := getattr(asked, role)) is not None
        },
        loras=tuple(lora.model_dump() for lora in asked.loras),
        options=asked.options,
        priority=asked.priority,
        deadline_ms=_ms(asked.deadline),
        tier=Tier(asked.tier),
        start_by_ms=_ms(asked.start_by),
        max_attempts=asked.max_attempts,
        idempotency_key=idempotency_key,
        name=asked.name,
        metadata=asked.metadata,
        webhook_url=asked.webhook_url,
        label=asked.label,
        external=asked.external,
        dialect=DIALECT,
        field_names=NAMES,
    )


def render_create(draft: Draft) -> dict[str, Any]:
    """The body that asks for `draft`; its idempotency key travels in a header."""
    body: dict[str, Any] = {
        name: value
        for name in CreateJob.model_fields
        if (value := getattr(draft, name, None)) is not None and value not in ({}, ())
    }
    if draft.aspect is not None:
        body["aspect_ratio"] = _ratio_word(draft.aspect)
    if draft.seconds is not None:
        body["duration_s"] = draft.seconds
    for name, at_ms in (("deadline", draft.deadline_ms), ("start_by", draft.start_by_ms)):
        if at_ms is not None:
            body[name] = _time(at_ms).isoformat().replace("+00:00", "Z")
    for role, source in draft.inputs.items():
        given = {"url": source.url, "base64": source.base64, "upload": source.upload}
        if source.data is not None:
            given["base64"] = base64.b64encode(source.data).decode()
        body[role] = {kind: value for kind, value in given.items() if value is not None}
    return body


def parse_idempotency_key(text: str | None) -> str | None:
    """The Idempotency-Key header; None when it was not sent. Raises InvalidRequest."""
    if text is not None and not re.fullmatch(IDEMPOTENCY_KEY, text):
        raise InvalidRequest(f"1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters", "Idempotency-Key")
    return text


def _ratio(text: str | None) -> float | None:
    if text is None:
        return None
    wide, _, high = text.partition(":")
    return int(wide) / int(high)


def _ratio_word(aspect: float) -> str:
    ratio = Fraction(aspect).limit_denominator(99_999)
    return f"{ratio.numerator}:{ratio.denominator}"


def _ms(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1000)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def parse(kind: type[_M], body: bytes) -> _M:
    """`body` as a `kind`, read strictly. Raises BrokenJson or InvalidBody."""
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        check_items(body)
    except ValueError as error:
        raise BrokenJson(f"the body has {error}") from None
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise refusal(error, kind) from None


def refusal(error: ValidationError, kind: type[BaseModel]) -> RequestError:
    """What pydantic found, in the words of this API."""
    found = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return BrokenJson(f"the body is not JSON: {found[0]['msg'].removeprefix('Invalid JSON: ')}")
    return InvalidBody(tuple((".".join(map(str, one["loc"])), _sentence(one, kind)) for one in found[:_MAX_ERRORS]))


def _sentence(one: ErrorDetails, kind: type[BaseModel]) -> str:
    if one["type"] == "extra_forbidden":
        if one["loc"] == ("batch",) and "label" in kind.model_fields:
            return "unknown field; a label of your own goes into `label`"
        near = get_close_matches(str(one["loc"][-1])[:64], kind.model_fields, n=1) if len(one["loc"]) == 1 else []
        return f"unknown field; did you mean {near[0]}?" if near else "unknown field"
    if one["type"] == "model_type" and not one["loc"]:
        return "the body must be a JSON object"
    if one["type"] == "string_pattern_mismatch":
        return 'must look like "16:9"' if one["loc"] == ("aspect_ratio",) else "is not of the form that it must have"
    return sentence(one)
