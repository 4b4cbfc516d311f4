"""crun's discovery, as its own command line asks for it: models with the schema of their inputs, estimates, and
addresses to upload to. Pure."""

from collections.abc import Sequence
from typing import Any

from farm.wire.answers import RATIOS
from farm.wire.crun import envelope
from farm.wire.model_ids import Meaning
from farm.wire.report import UNLIMITED, credits_number
from models.catalog import AREAS, Model

#: task -> crun's word for what is done
_OPERATIONS = {
    "t2v": "text-to-video",
    "i2v": "image-to-video",
    "animate": "motion-transfer",
    "replace": "character-replace",
}
_PROMPT = {"type": "string", "description": "What to render."}
_ADDRESSES = {"type": "array", "items": {"type": "string", "format": "uri"}, "minItems": 1, "maxItems": 1}


def operation_of(meaning: Meaning) -> str:
    """crun's word for what a model id does."""
    return _OPERATIONS.get(meaning.task or "", "video")


def render_models(found: Sequence[tuple[str, Meaning, Model]]) -> dict[str, Any]:
    """The answer to job/Models: (crun's id, what it means, the model that renders it here)."""
    return envelope({"models": [_entry(*one) for one in found], "total": len(found)})


def render_model(name: str, meaning: Meaning, model: Model) -> dict[str, Any]:
    """The answer to job/Models/{id}: with a JSON schema of `input`."""
    return envelope({**_entry(name, meaning, model), "input_schema": _schema(meaning)})


def _entry(name: str, meaning: Meaning, model: Model) -> dict[str, Any]:
    provider, _, version = name.partition("/")
    return {
        "model": name,
        "provider": provider,
        "model_version": version,
        "title": model.title,
        "modality": "video",
        "operations": [operation_of(meaning)],
    }


def _schema(meaning: Meaning) -> dict[str, Any]:
    follows = meaning.task in ("animate", "replace")
    properties: dict[str, Any] = {
        "prompt": _PROMPT,
        "negative_prompt": {"type": "string"},
        "resolution": {"type": "string", "enum": [word.upper() for word in AREAS]},
        "seed": {"type": "integer", "description": "-1: a random one"},
    }
    if meaning.task != "t2v":
        properties["img_urls"] = _ADDRESSES
    if follows:
        properties["video_urls"] = _ADDRESSES
    else:
        properties["aspect_ratio"] = {"type": "string", "enum": list(RATIOS)}
        properties["duration"] = {"type": "number", "minimum": 0.3, "description": "seconds"}
    inputs = [name for name in ("img_urls", "video_urls") if name in properties]
    required = inputs if follows else ["prompt", *inputs]
    return {"type": "object", "properties": properties, "required": required}


def render_estimate(credits_micro: int, balance_micro: int | None) -> dict[str, Any]:
    """The answer to job/EstimateTask; `balance_micro` None: a tenant without an account, for whom all is affordable."""
    return envelope(
        {
            "estimated_credits": credits_number(credits_micro),
            "balance": UNLIMITED if balance_micro is None else credits_number(balance_micro),
            "affordable": balance_micro is None or credits_micro <= balance_micro,
        }
    )


def render_upload(presigned_url: str, file_url: str) -> dict[str, Any]:
    """The answer to files/upload-url: where to PUT, and what to name in a task."""
    return envelope({"presigned_url": presigned_url, "file_url": file_url})
