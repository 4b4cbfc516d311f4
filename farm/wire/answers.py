"""The other way round from farm.wire.words: what a job becomes in an answer, and the parts of a provider's answer that
several dialects share. Pure."""

import json
import math
from collections.abc import Mapping
from typing import Any

from farm.jobs.draft import Source
from farm.jobs.states import TERMINAL, State
from farm.wire.words import MAX_INTEGER


def state_word(words: Mapping[State, str], state: State) -> str:
    """A dialect's word for a state. One that it does not list: queued while it is open, else failed."""
    return words.get(state) or words[State.FAILED if state in TERMINAL else State.QUEUED]


def address_of(source: Source | None) -> str | None:
    """The URL or `data:` text of a source; None without a source."""
    return None if source is None else source.url or source.base64


def addresses_of(source: Source | None) -> list[str]:
    """The same, for dialects that list addresses."""
    address = address_of(source)
    return [address] if address else []


#: the ratios that the providers have words for
RATIOS = {word: int(word.split(":")[0]) / int(word.split(":")[1]) for word in ("16:9", "9:16", "1:1", "4:3", "3:4")}


def aspect_word(aspect: float) -> str | None:
    """The word of an aspect, None when no provider has one."""
    return next((word for word, ratio in RATIOS.items() if abs(ratio - aspect) < 1e-6), None)


def plain_number(value: float) -> int | float:
    """5 rather than 5.0, as people write it."""
    return int(value) if float(value).is_integer() else float(value)


def compact(values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are set: without None and empty lists."""
    return {k: v for k, v in values.items() if v is not None and v != []}


def dump(value: Any) -> str:
    """JSON as the providers write it inside strings: no blanks, no escapes for letters."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def data_of(body: Any) -> Mapping[str, Any]:
    """The `data` object of an answer; empty when it has none."""
    data = body.get("data") if isinstance(body, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def positive(value: Any) -> int | None:
    """A count or a time in an answer: a number above zero, or None. Never raises."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 < value < MAX_INTEGER else None


def share(percent: Any) -> float | None:
    """[0, 1] of a percentage in an answer, or None. Never raises."""
    if isinstance(percent, bool) or not isinstance(percent, (int, float)) or math.isnan(percent):
        return None
    return min(max(percent / 100, 0.0), 1.0)
