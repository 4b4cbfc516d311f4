"""Keeps the CPU near a GPU. A GPU takes orders long before it carries them out. Without a bound a whole step is ordered
at once; whether the render is still wanted, and how far it is, would be looked at half a minute early."""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

#: pieces of work (blocks of a transformer, mostly) that the device may still have before it: enough to keep it busy
#: while the CPU is woken and orders the next one
_AHEAD = 2


class Mark(Protocol):
    """A place in the device's queue (torch.cuda.Event)."""

    def synchronize(self) -> None:
        """Wait until the device has come to it."""
        ...


class LaunchThrottle:
    """One render's. put: sets a Mark behind all that was ordered so far; None where orders are carried out at once."""

    def __init__(self, put: Callable[[], Mark] | None) -> None:
        self._put = put
        self._marks: deque[Mark] = deque()

    def keep(self) -> None:
        """Called between two pieces: waits until no more than `_AHEAD` of those before are still to be done."""
        if self._put is None:
            return
        self._marks.append(self._put())
        if len(self._marks) > _AHEAD:
            self._marks.popleft().synchronize()


def pace_on(device: Any) -> LaunchThrottle:
    """The pace of a torch.device."""
    if device.type != "cuda":
        return LaunchThrottle(None)
    import torch

    def put() -> Mark:
        # sleeps while it waits: the encoder of the last clip wants the CPU
        mark = torch.cuda.Event(blocking=True)
        mark.record()
        return mark

    return LaunchThrottle(put)
