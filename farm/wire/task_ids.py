"""The dialects' spellings of a job id. Pure and reversible; a text that is no id of this farm reads as None.

kie task_wan_<32 hex>, apixo task_<32 hex>, crun the UUID itself (36 characters), wiro a decimal number and a token of
30 characters, openai video_<32 hex>. Only wiro's token is a secret: its last 8 characters are random and kept.
"""

import re
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass

from farm.jobs.ids import is_job_id

_HEX = re.compile(r"[0-9a-f]{32}")
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PLACE = {c: i for i, c in enumerate(_ALPHABET)}
_TOKEN_HEAD = 22  # 62**22 > 2**128
_TOKEN_TAIL = 8


@dataclass(frozen=True)
class Spelling:
    """How a dialect writes job ids. `read` gives the job id back, or None for a text that is no id of ours."""

    write: Callable[[str], str]
    read: Callable[[str], str | None]


def prefixed(prefix: str) -> Spelling:
    """The prefix and the UUID's 32 hexadecimal digits."""

    def read(text: str) -> str | None:
        rest = text[len(prefix) :]
        return _dashed(rest) if text.startswith(prefix) and _HEX.fullmatch(rest) else None

    return Spelling(lambda job_id: prefix + job_id.replace("-", ""), read)


def _read_decimal(text: str) -> str | None:
    return _from_number(int(text)) if text.isascii() and text.isdecimal() and len(text) <= 39 else None


_UUID = Spelling(lambda job_id: job_id, lambda text: text.lower() if is_job_id(text.lower()) else None)
DECIMAL = Spelling(lambda job_id: str(_number(job_id)), _read_decimal)

#: dialects without an entry use the UUID itself
SPELLINGS: dict[str, Spelling] = {
    "kie": prefixed("task_wan_"),
    "apixo": prefixed("task_"),
    "openai": prefixed("video_"),
    "wiro": DECIMAL,
}


def task_id(dialect: str, job_id: str) -> str:
    """The job's id as the dialect writes it."""
    return SPELLINGS.get(dialect, _UUID).write(job_id)


def job_id(dialect: str, text: str) -> str | None:
    """The job id in a dialect's task id, None when it can be none of ours."""
    return SPELLINGS.get(dialect, _UUID).read(text.strip())


def new_token_tail() -> str:
    """The random, secret end of a token."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_TOKEN_TAIL))


def token(job_id: str, tail: str) -> str:
    """wiro's socketaccesstoken: the job id in base 62, then the job's secret tail."""
    number, head = _number(job_id), []
    for _ in range(_TOKEN_HEAD):
        number, digit = divmod(number, 62)
        head.append(_ALPHABET[digit])
    return "".join(reversed(head)) + tail


def split_token(text: str) -> tuple[str, str] | None:
    """(job id, tail) of a token, None when it can be none of ours. The caller compares the tail."""
    if len(text) != _TOKEN_HEAD + _TOKEN_TAIL or any(c not in _PLACE for c in text):
        return None
    number = 0
    for c in text[:_TOKEN_HEAD]:
        number = number * 62 + _PLACE[c]
    found = _from_number(number)
    return (found, text[_TOKEN_HEAD:]) if found else None


def _number(job_id: str) -> int:
    return int(job_id.replace("-", ""), 16)


def _from_number(number: int) -> str | None:
    return _dashed(f"{number:032x}") if number < 2**128 else None


def _dashed(text: str) -> str:
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
