"""What one check found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """check  "redis.version": the part, then what was looked at
    text   what was found
    todo   what to do about it; None when it is ok
    """

    check: str
    level: Level
    text: str
    todo: str | None = None


def ok(check: str, text: str) -> Finding:
    """It is as the farm needs it."""
    return Finding(check, Level.OK, text)


def warning(check: str, text: str, todo: str) -> Finding:
    """The farm works, with less than it could have."""
    return Finding(check, Level.WARNING, text, todo)


def error(check: str, text: str, todo: str) -> Finding:
    """The farm does not work, or breaks a promise."""
    return Finding(check, Level.ERROR, text, todo)
