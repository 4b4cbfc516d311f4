"""How long a render will still take; None while an estimate would be a guess. Pure; the time is an argument."""

from collections import deque

from farm.scheduling.remaining import remaining_s

#: one duration is an accident (the first step warms up), two are a pace
SAMPLES = 2
#: steps that the pace is averaged over
_WINDOW = 8


class RemainingTime:
    """The pace of one job's current attempt. Times are seconds of any one clock.

    A point is taken where a denoising step ends: (time, step, progress). Work beyond denoising (decoding, encoding) is
    what `progress` says is left then, at the same pace.
    """

    def __init__(self) -> None:
        self._attempt = -1
        self._steps = 0
        self._points: deque[tuple[float, int, float]] = deque(maxlen=_WINDOW + 1)

    def see(self, now_s: float, *, attempt: int, denoising: bool, step: int, steps: int, progress: float) -> None:
        """Take over the job's latest progress; may be called at any time."""
        if attempt != self._attempt:
            self._attempt = attempt
            self._points.clear()
        self._steps = steps
        if denoising and (not self._points or step > self._points[-1][1]):
            self._points.append((now_s, step, progress))

    def left_s(self, now_s: float) -> float | None:
        """Seconds until the render is over; None until two steps have been timed, and when the forecast is used up."""
        if len(self._points) < SAMPLES + 1:
            return None
        (t0, step0, done0), (t1, step1, done1) = self._points[0], self._points[-1]
        left_s = remaining_s(
            t1 - t0, steps=step1 - step0, steps_left=self._steps - step1, share=done1 - done0, share_left=1.0 - done1
        )
        left_s -= now_s - t1
        return left_s if left_s > 0 else None
