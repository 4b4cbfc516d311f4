"""Limits of a draft that hold for every model: lengths of texts, numbers that are numbers, one source for each input.
Pure. The limits of a model are checked in farm.submission.shape.

Every refusal is an InvalidRequest that names the field as the asker named it.
"""

import math
from typing import Any

from farm.jobs.draft import Draft
from farm.jobs.states import Tier
from models.catalog import MAX_PROMPT_CHARS, MAX_SEED

MAX_ATTEMPTS = 10
MAX_PRIORITY = 9
MAX_METADATA = 16
MAX_METADATA_KEY_CHARS = 64
MAX_METADATA_CHARS = 512

#: field -> the most characters that it may have
MAX_CHARS = {
    "prompt": MAX_PROMPT_CHARS,
    "negative_prompt": MAX_PROMPT_CHARS,
    "idempotency_key": 255,
    "name": 200,
    "label": 100,
    "model": 200,
    "task": 200,
    "resolution": 200,
}
_WHOLE = ("width", "height", "frames", "fps", "steps", "seed", "priority", "deadline_ms", "start_by_ms", "max_attempts")
_NUMBERS = ("aspect", "seconds", "guidance", "guidance_2", "shift")


def check(draft: Draft, now_ms: int) -> None:
    """Raises InvalidRequest. now_ms: milliseconds since the epoch, on the clock of deadlines."""
    _check_texts(draft)
    _check_numbers(draft)
    _check_range(draft, "seed", 0, MAX_SEED)
    _check_range(draft, "priority", 0, MAX_PRIORITY)
    _check_range(draft, "max_attempts", 1, MAX_ATTEMPTS)
    if draft.deadline_ms is not None and draft.deadline_ms <= now_ms:
        raise draft.refused("deadline_ms", "is in the past")
    if draft.start_by_ms is not None and draft.start_by_ms <= now_ms:
        raise draft.refused("start_by_ms", "is in the past")
    if draft.tier is Tier.URGENT:
        raise draft.refused("tier", "an operator makes a job urgent; ask for normal or economy")
    for role, source in draft.inputs.items():
        given = (source.url, source.data, source.upload, source.base64, source.last_frame_of)
        if sum(value is not None for value in given) != 1:
            raise draft.refused(role, "give exactly one of an address, the data, or an upload")


def check_key(draft: Draft) -> None:
    """The idempotency key alone: it is looked up before anything else is checked."""
    _check_field(draft, "idempotency_key")


def _check_texts(draft: Draft) -> None:
    if draft.prompt is None or not isinstance(draft.prompt, str) or not draft.prompt.strip():
        raise draft.refused("prompt", "a prompt is required and must not be empty")
    for field in MAX_CHARS:
        _check_field(draft, field)
    if len(draft.metadata) > MAX_METADATA:
        raise draft.refused("metadata", f"may have {MAX_METADATA} entries")
    for key, value in draft.metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise draft.refused("metadata", "keys and values must be strings")
        _check_text(draft, "metadata", key, MAX_METADATA_KEY_CHARS)
        _check_text(draft, "metadata", value, MAX_METADATA_CHARS)


def _check_field(draft: Draft, field: str) -> None:
    text = getattr(draft, field)
    if text is not None:
        _check_text(draft, field, text, MAX_CHARS[field])


def _check_text(draft: Draft, field: str, text: object, most: int) -> None:
    """Strings are strings of real characters, and not endless."""
    if not isinstance(text, str):
        raise draft.refused(field, "must be a string")
    if len(text) > most:
        raise draft.refused(field, f"has {len(text)} characters; {most} are allowed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise draft.refused(field, "contains half a character (a lone surrogate)") from None


def _check_numbers(draft: Draft) -> None:
    """Whole numbers are whole, numbers are finite, and neither is a bool."""
    for field in _WHOLE:
        value: Any = getattr(draft, field)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise draft.refused(field, "must be a whole number")
    for field in _NUMBERS:
        value = getattr(draft, field)
        if value is None:
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise draft.refused(field, "must be a number")


def _check_range(draft: Draft, field: str, low: int, high: int) -> None:
    value = getattr(draft, field)
    if value is not None and not low <= value <= high:
        raise draft.refused(field, f"{value} is not between {low} and {high}")
