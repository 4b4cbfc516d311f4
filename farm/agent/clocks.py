"""The clocks of one render on an engine: progress (stuck), wall time (runaway), the grace of a cancel; and its pace,
which predicts the end of its denoising. Times are arguments: seconds of one monotonic clock."""

import math

from farm.config import LeaseSettings
from farm.jobs.errors import FarmError, FaultCode, JobFault
from models.planning.request import Progress, Stage


class Disobeyed(FarmError):
    """The engine did not stop after a cancel."""


class Clocks:
    """Times one attempt. `now` and all times are seconds of a monotonic clock."""

    def __init__(self, limits: LeaseSettings, wall_s: float, now: float) -> None:
        self._limits, self._wall_s = limits, wall_s
        self.began = self._progressed = now
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] | None = None
        self._steps = 0
        self._tail = False

    def progressed(self, at: Progress, now: float) -> None:
        """The engine reported its progress."""
        self._progressed = now
        # Animate decodes after each segment, with steps to come
        self._tail = at.stage is Stage.ENCODING or (at.stage is Stage.DECODING and at.step >= at.steps)
        if at.step < 1 or (self._last and at.step == self._last[0]):
            return
        if self._last is None or at.step < self._last[0]:
            # the first step does not count: it is slower, and it began before this clock. A render may start over
            self._first = (at.step, now)
        self._steps, self._last = at.steps, (at.step, now)

    def left_s(self, now: float) -> float:
        """Seconds of denoising that are left, if the next steps take what those so far took on average; infinite until
        two are done, 0 at the VAE's turn."""
        if self._tail:
            return 0.0
        if self._first is None or self._last is None or self._last[0] <= self._first[0]:
            return math.inf
        step_s = (self._last[1] - self._first[1]) / (self._last[0] - self._first[0])
        return max(0.0, self._last[1] + (self._steps - self._last[0]) * step_s - now)

    def near_end(self, now: float, prefetch_s: float) -> bool:
        """Whether the device is free for another render in about `prefetch_s`; with 0, whether only the VAE is left."""
        return self._tail or (prefetch_s > 0 and self.left_s(now) <= prefetch_s)

    def check(self, now: float, asked_at: float | None) -> None:
        """Raise when the engine must be killed: Disobeyed, or JobFault stuck or too_long. asked_at: when it was asked
        to stop."""
        limits = self._limits
        if asked_at is not None and now - asked_at > limits.cancel_grace_s:
            raise Disobeyed
        if now - self._progressed > limits.stuck_s:
            raise JobFault(FaultCode.STUCK, f"no progress for {limits.stuck_s:.0f} seconds")
        if now - self.began > self._wall_s:
            raise JobFault(FaultCode.TOO_LONG, f"not done after {self._wall_s:.0f} seconds")
