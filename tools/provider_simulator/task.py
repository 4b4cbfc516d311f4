"""A task as a provider keeps it, and what was asked. Times are seconds since the epoch, money is millionths of the
provider's own unit."""

import json
from dataclasses import dataclass
from typing import Any

#: resolution word -> the sides of 16:9
SIDES = {"480p": (832, 480), "580p": (1024, 576), "720p": (1280, 720)}


@dataclass(frozen=True)
class ClipShape:
    """The clip that is made: pixels, frames, frames per second."""

    width: int
    height: int
    frames: int
    fps: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.frames / self.fps


@dataclass(frozen=True)
class Ordered:
    """A create request that was understood. `seconds` is what is billed at `resolution`."""

    model: str
    request: dict[str, Any]
    prompt: str
    resolution: str
    seconds: float
    shape: ClipShape
    callback_url: str | None = None


@dataclass(frozen=True)
class Task:
    """One accepted order. `fate`: success, fail, stuck or cancelled, from `ends` on. `word`: a status that no document
    has, told while it is open. `clip`: good, broken, oversized or expired."""

    id: str
    token: str
    asked: Ordered
    created: float
    starts: float
    ends: float
    cost: int
    fate: str = "success"
    fail_code: str = ""
    clip: str = "good"
    word: str = ""

    def state(self, now: float) -> str:
        """queued, running, success, fail or cancelled."""
        if self.fate == "cancelled":
            return "cancelled"
        if now < self.starts:
            return "queued"
        if now < self.ends or self.fate == "stuck":
            return "running"
        return self.fate

    def charged(self, now: float) -> int:
        """What it costs by now: what fails or was cancelled is not billed."""
        return 0 if self.state(now) in ("fail", "cancelled") else self.cost


def dumps(value: Any) -> str:
    """JSON as all of them write it."""
    return json.dumps(value, separators=(",", ":"))
