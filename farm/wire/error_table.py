"""The farm's errors as a dialect's numbers, and back: one small table per dialect, read in both directions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from farm.jobs.errors import FarmError, InvalidRequest, TooMany, Unavailable


@dataclass(frozen=True)
class Row:
    """Errors of `kind` carry `code` in the body and travel with HTTP `status`."""

    kind: type[FarmError]
    code: int
    status: int


def row_of(rows: Sequence[Row], error: Exception) -> Row | None:
    """The first row whose kind fits; None for an error that is not the farm's (a bug: 500)."""
    return next((row for row in rows if isinstance(error, row.kind)), None)


def error_of(
    rows: Sequence[Row], code: int, message: str, headers: Mapping[str, str] | None = None
) -> FarmError | None:
    """The error that a number stands for: the table's first, else by its class; None for a 2xx."""
    if 200 <= code < 300:
        return None
    kind = next((row.kind for row in rows if row.code == code), None)
    if kind is None or kind is FarmError:
        kind = InvalidRequest if 400 <= code < 455 else Unavailable
    if issubclass(kind, (TooMany, Unavailable)):
        return kind(message, retry_after_s=retry_after_s(headers, 10.0))
    return kind(message)


def retry_after_s(headers: Mapping[str, str] | None, otherwise: float) -> float:
    """Seconds of a Retry-After header that is a number."""
    text = {k.lower(): v for k, v in (headers or {}).items()}.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 8 else otherwise


def retry_headers(error: Exception) -> dict[str, str]:
    """Retry-After in whole seconds, for errors that say when to ask again."""
    wait_s = getattr(error, "retry_after_s", None)
    return {} if wait_s is None else {"Retry-After": str(max(1, math.ceil(wait_s)))}
