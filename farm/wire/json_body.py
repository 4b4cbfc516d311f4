"""JSON of strangers: how large, how deep and how much of it is kept with a job. Pure."""

import json
import math
from collections.abc import Mapping
from typing import Any

from farm.jobs.errors import InvalidRequest

#: of one body: values, and lists and objects within each other
MAX_ITEMS, MAX_DEPTH = 50_000, 32
#: bytes of a request that are kept with its job, and characters of one text in it (more is a picture written out)
MAX_KEPT_BYTES, MAX_KEPT_CHARS = 16 * 1024, 8192
_SHORT = 512


def check_items(data: str | bytes) -> None:
    """Before it is parsed: a value takes a hundred times its text in memory. Counts commas in texts too, which no
    honest body has so many of. Raises ValueError."""
    marks: tuple[Any, ...] = (",", "[", "{") if isinstance(data, str) else (b",", b"[", b"{")
    if sum(data.count(mark) for mark in marks) > MAX_ITEMS:
        raise ValueError(f"more than {MAX_ITEMS} values")


def loads(data: str | bytes) -> Any:
    """Raises ValueError, also for NaN, numbers beyond a float, lone surrogates, and what is too much or too deep."""
    check_items(data)
    try:
        value = json.loads(data, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise _too_deep() from None
    _check_depth(value)
    # a lone surrogate cannot be encoded: ValueError
    json.dumps(value, ensure_ascii=False).encode()
    return value


def keepable(value: Any) -> Any:
    """A request as it is kept with the job: long text (base64 pictures) shortened, everything else as it came. Raises
    InvalidRequest when that is more than a job may keep."""
    for most in (MAX_KEPT_CHARS, _SHORT):
        kept = _shortened(value, most)
        if len(json.dumps(kept, ensure_ascii=False).encode()) <= MAX_KEPT_BYTES:
            return kept
    raise InvalidRequest(
        f"the request has more than {MAX_KEPT_BYTES} bytes beside its pictures; leave out what is not read"
    )


def _shortened(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[:64]}... ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {str(k): _shortened(v, most) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(v, most) for v in value]
    return value


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += isinstance(level[0], (dict, list)) or any(isinstance(one, (dict, list)) for one in level)
        if depth > MAX_DEPTH:
            raise _too_deep()
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.values()
            elif isinstance(one, list):
                below += one
        level = below


def _too_deep() -> ValueError:
    return ValueError(f"lists and objects are nested more than {MAX_DEPTH} deep")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is beyond any number")
    return number


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a JSON value")
