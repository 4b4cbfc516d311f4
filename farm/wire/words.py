"""Tolerant reading of what clients send: numbers as strings, "" for "not set", odd case, one URL or a list of them.
Pure; raises InvalidRequest with the field as the client spelled it. Checks types, not meanings."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from farm.jobs.draft import Source
from farm.jobs.errors import InvalidRequest
from farm.wire.json_body import loads

#: larger integers are no plausible seed, size or count
MAX_INTEGER = 2**63 - 1
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object in a request body. Text that no store could keep (lone surrogates, NaN) is refused."""
    if not data.strip():
        raise InvalidRequest("the body is empty; send a JSON object")
    try:
        value = loads(data)
    except ValueError as error:
        raise InvalidRequest(f"the body is not JSON: {_short(error)}") from None
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object")
    return value


def parse_nested(value: Any) -> Any:
    """A value that some clients send as a JSON string: the object in it, or the value as it came."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return loads(value)
        except ValueError:
            return value
    return value


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def is_unset(value: Any) -> bool:
    """None, "" and blank text all mean that the asker left it out."""
    return value is None or (isinstance(value, str) and not value.strip())


def as_number(value: Any, field: str) -> float | None:
    """A finite number, also from text; None when it is unset. Raises InvalidRequest."""
    if is_unset(value):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InvalidRequest("must be a number", field)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{str(value)[:40]!r} is not a number", field) from None
    if not math.isfinite(number) or abs(number) > MAX_INTEGER:
        raise InvalidRequest("is out of range", field)
    return number


def as_integer(value: Any, field: str) -> int | None:
    """Also "42", 42.0 and "42.0"; exact for every integer that fits in 63 bits."""
    if is_unset(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        number = int(value)
    else:
        real = as_number(value, field)
        assert real is not None
        if not real.is_integer():
            raise InvalidRequest(f"{str(value)[:40]} is not a whole number", field)
        number = int(real)
    if abs(number) > MAX_INTEGER:
        raise InvalidRequest("is out of range", field)
    return number


def as_flag(value: Any, field: str) -> bool | None:
    """True or false, also from "true", "1", "yes", "on" and their opposites; None when it is unset. Raises
    InvalidRequest."""
    if is_unset(value):
        return None
    word = str(value).strip().lower()
    if isinstance(value, (bool, int, str)) and word in _TRUE | _FALSE:
        return word in _TRUE
    raise InvalidRequest("must be true or false", field)


def as_text(value: Any, field: str) -> str | None:
    """Text, also from a number; None when it is unset. Raises InvalidRequest."""
    if is_unset(value):
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidRequest("must be a string", field)
    return str(value)


def as_texts(value: Any, field: str) -> tuple[str, ...]:
    """A list of strings, one string, or a list written as JSON inside a string; blanks are left out."""
    value = parse_nested(value)
    if is_unset(value):
        return ()
    items: Iterable[Any] = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(t for t in (as_text(item, field) for item in items) if t is not None)


def as_url(value: Any, field: str) -> str | None:
    """An http(s) URL or a `data:` URI, trimmed."""
    text = as_text(value, field)
    if text is None:
        return None
    text = text.strip()
    if not is_address(text):
        raise InvalidRequest("must be an http or https URL", field)
    return text


def is_address(text: str) -> bool:
    """Whether a text is an http(s) URL with a host, or a `data:` URI."""
    if text[:5].lower() == "data:":
        return True
    try:
        parts = urlsplit(text)
        return parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and not set(text) & set(" \t\r\n\0")
    except ValueError:
        return False


def as_source(address: str) -> Source:
    """A picture behind a URL, or written out in a `data:` URI."""
    return Source(base64=address) if address[:5].lower() == "data:" else Source(url=address)


def as_callback(value: Any) -> str | None:
    """The address to tell, or None: documents put sentences into callback fields, and those mean "none"."""
    return (
        value.strip() if isinstance(value, str) and value[:5].lower() != "data:" and is_address(value.strip()) else None
    )


def as_resolution(value: Any, field: str) -> str | None:
    """480p from "480P", " 480p ", "480" or 480; other words are returned lower-case for the model to judge."""
    text = as_text(value, field)
    if text is None:
        return None
    word = text.strip().lower()
    return f"{word}p" if word.isdecimal() else word


def as_aspect(value: Any, field: str) -> float | None:
    """Width over height of "16:9", "16x9" or "16/9"; None for the words that mean the picture's own."""
    text = as_text(value, field)
    if text is None or text.strip().lower() in ("auto", "default", "adaptive"):
        return None
    for mark in (":", "x", "/"):
        wide, found, high = text.partition(mark)
        if (
            found
            and wide.strip().isdecimal()
            and high.strip().isdecimal()
            and len(text) < 16
            and int(high)
            and int(wide)
        ):
            return int(wide) / int(high)
    raise InvalidRequest(f"{text[:20]!r} is not an aspect ratio like 16:9", field)


class Fields:
    """One object of a request, read by any of several spellings of a key; the first that is set wins."""

    def __init__(self, raw: Any, prefix: str = "") -> None:
        raw = parse_nested(raw)
        if raw is not None and raw != "" and not isinstance(raw, Mapping):
            raise InvalidRequest("must be an object", prefix.rstrip(".") or None)
        self.raw: Mapping[str, Any] = raw or {}
        self.prefix = prefix
        self._known: set[str] = set()

    def find(self, *names: str) -> tuple[Any, str]:
        """(value, the name that was used with its prefix)."""
        self._known.update(names)
        for name in names:
            if not is_unset(self.raw.get(name)):
                return self.raw[name], self.prefix + name
        return None, self.prefix + names[0]

    def refuse_rest(self, detail: str) -> None:
        """InvalidRequest for the first field that is set and that nobody asked for so far."""
        for name, value in self.raw.items():
            if name not in self._known and not is_unset(value) and value not in ([], {}):
                raise InvalidRequest(detail, f"{self.prefix}{name}"[:80])

    def text(self, *names: str) -> str | None:
        """as_text of the first spelling that is set."""
        return as_text(*self.find(*names))

    def texts(self, *names: str) -> tuple[str, ...]:
        """as_texts of the first spelling that is set."""
        return as_texts(*self.find(*names))

    def integer(self, *names: str) -> int | None:
        """as_integer of the first spelling that is set."""
        return as_integer(*self.find(*names))

    def seed(self, *names: str, no_seed: tuple[int, ...] = (-1,)) -> int | None:
        """None also for the numbers by which clients ask for a random one."""
        seed = self.integer(*names)
        return None if seed in no_seed else seed

    def number(self, *names: str) -> float | None:
        """as_number of the first spelling that is set."""
        return as_number(*self.find(*names))

    def flag(self, *names: str) -> bool | None:
        """as_flag of the first spelling that is set."""
        return as_flag(*self.find(*names))

    def url(self, *names: str) -> str | None:
        """as_url of the first spelling that is set."""
        return as_url(*self.find(*names))

    def urls(self, *names: str) -> tuple[str, ...]:
        """The URLs of a list, of one text or of JSON inside a text."""
        value, field = self.find(*names)
        return tuple(u for u in (as_url(t, field) for t in as_texts(value, field)) if u is not None)

    def resolution(self, *names: str) -> str | None:
        """as_resolution of the first spelling that is set."""
        return as_resolution(*self.find(*names))

    def aspect(self, *names: str) -> float | None:
        """as_aspect of the first spelling that is set: width over height."""
        return as_aspect(*self.find(*names))

    def callback(self, *names: str) -> str | None:
        """as_callback of the first spelling that is set."""
        return as_callback(self.find(*names)[0])
