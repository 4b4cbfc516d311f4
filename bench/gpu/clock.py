"""Seconds and bytes on a device: everything that was started has ended when the clock is read."""

import threading
import time
from dataclasses import dataclass
from typing import Any


class OutOfTime(Exception):
    """The bench's time is over in the middle of a row."""


class Clock:
    """One device's. `left_s` is what remains of the whole bench's time."""

    def __init__(self, device: Any, budget_s: float) -> None:
        self.device = device
        self.begun = time.perf_counter()
        self._end = self.begun + budget_s

    @property
    def left_s(self) -> float:
        return self._end - time.perf_counter()

    @property
    def since_s(self) -> float:
        return time.perf_counter() - self.begun

    def now(self) -> float:
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def check(self) -> None:
        """OutOfTime once the bench's time is over."""
        if self.left_s <= 0:
            raise OutOfTime("the bench's time was over")

    def forget_peak(self) -> None:
        if self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def total_gb(self) -> float:
        """Of a GPU."""
        import torch

        return float(torch.cuda.get_device_properties(self.device).total_memory) / 1e9

    def peak_gb(self) -> float:
        """The most that was allocated at once since forget_peak, GB; 0 where nobody counts."""
        if self.device.type != "cuda":
            return 0.0
        import torch

        return float(torch.cuda.max_memory_allocated(self.device)) / 1e9


@dataclass
class _Span:
    """One forward: when it was called, on the host's clock, and the marks of its begin and end on the device's."""

    called: float
    begin: Any
    end: Any = None


class Busy:
    """When a device works, seen from the models' own forwards: by the device's own events where it has them, so that
    looking does not make it wait."""

    def __init__(self, device: Any, parts: list[Any]) -> None:
        self._device = device
        self._spans: list[_Span] = []
        self._open = threading.local()
        self._zero = self._mark()
        self._handles = [
            handle
            for part in parts
            if part is not None
            for handle in (part.register_forward_pre_hook(self._begin), part.register_forward_hook(self._end))
        ]

    def between(self, border: float) -> tuple[float, float]:
        """(idle seconds between the last work that was called before `border`, on the host's clock, and the first after
        it; seconds from the first work of all to that one). Once, when everything is over."""
        for handle in self._handles:
            handle.remove()
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize(self._device)
        before = [span for span in self._spans if span.called < border]
        after = [span for span in self._spans if span.called >= border]
        last = max(self._seconds(span.end) for span in before)
        first = min(self._seconds(span.begin) for span in after)
        return first - last, first - min(self._seconds(span.begin) for span in before)

    def _begin(self, *_: Any) -> None:
        span = self._open.span = _Span(time.perf_counter(), self._mark())
        self._spans.append(span)

    def _end(self, *_: Any) -> None:
        self._open.span.end = self._mark()

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _seconds(self, mark: Any) -> float:
        """Since this was made."""
        if self._device.type != "cuda":
            return float(mark - self._zero)
        return float(self._zero.elapsed_time(mark)) / 1e3
