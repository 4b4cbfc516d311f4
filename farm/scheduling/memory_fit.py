"""The memory that a job needs and that a worker has, of the GPU and of its machine, as short texts that every claim
compares (ledger/lua/lib/fits.lua has the same rule). Pure; chooses no plan."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from models.catalog import Settled
from models.planning import plan

#: megabytes; more than any machine has
_ENDLESS = 10**9
MB = 1_000_000
#: the memory of machines is told no finer, so that a pool has as many different workers as it has kinds of machines
_HOST_GRAIN_MB = 1000


@dataclass(frozen=True)
class Memory:
    """The memory that a worker's engine may use when nothing is loaded. fp8: weights may be rounded to 8 bits to
    fit."""

    device_mb: int = _ENDLESS
    host_mb: int = _ENDLESS
    fp8: bool = False

    @classmethod
    def of(cls, told: object) -> Self | None:
        """From an engine's device facts (models.acceleration.memory.may_use); None from one that reports nothing."""
        if not isinstance(told, Mapping):
            return None
        device, host = (_mb(told.get(name)) for name in ("device_bytes", "host_bytes"))
        return cls(device, host if host == _ENDLESS else host - host % _HOST_GRAIN_MB, bool(told.get("fp8")))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """From `text`; None from the text of a worker that reported nothing."""
        device, _, host = text.rstrip("r").partition(":")
        return cls(int(device), int(host), text.endswith("r")) if text else None

    @property
    def text(self) -> str:
        """ "DEVICE_MB:HOST_MB", with "r" behind it when 8-bit weights may be used; lib/fits.lua reads it."""
        return f"{self.device_mb}:{self.host_mb}{'r' if self.fp8 else ''}"

    @property
    def room(self) -> plan.Room:
        """The same in bytes, for models.planning.plan."""
        return plan.Room(*(float("inf") if mb == _ENDLESS else mb * MB for mb in (self.device_mb, self.host_mb)))

    def holds(self, needs: str) -> bool:
        """Whether a job of those needs can be rendered in one of its ways."""
        for way in needs.split():
            device, host = way.rstrip("r").split(":")
            if int(device) <= self.device_mb and int(host) <= self.host_mb and (self.fp8 or not way.endswith("r")):
                return True
        return not needs


def burden_of(shape: Settled, options: Mapping[str, Any], loras: Iterable[Mapping[str, Any]] = ()) -> plan.Burden:
    """What memory has to hold of a shape with the options and the LoRAs of a spec."""
    added = plan.lora_bytes(shape.model, [(str(one["expert"]), float(one["size"])) for one in loras])
    return plan.Burden(shape.model, shape.width, shape.height, shape.frames, options.get("lossy"), added)


@lru_cache(maxsize=1024)
def needs_of(burden: plan.Burden) -> str:
    """Every way to render it that is not worse than another: "device_mb:host_mb", with an `r` after it where weights
    are rounded to 8 bits. At most 64 characters: Redis keeps short values packed.

    Remembered, since a submission asks more than once."""
    ways: list[tuple[int, int, str]] = []
    for where in plan.places(burden.model, fp8=True):
        need = plan.needs(burden, plan.MemoryPlan(where, tiled=True))
        rounded = "r" if where is plan.Where.FP8_STORAGE else ""
        ways.append((math.ceil(need.device_bytes / plan.USABLE / MB), math.ceil(need.host_bytes / MB), rounded))
    best = [way for way in ways if not any(_beats(other, way) for other in ways)]
    return " ".join(f"{device}:{host}{rounded}" for device, host, rounded in best)


def _beats(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1] and one[2] <= other[2]


def _mb(count: object) -> int:
    return min(_ENDLESS, int(count / MB)) if isinstance(count, (int, float)) and count != float("inf") else _ENDLESS
