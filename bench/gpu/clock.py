"""Seconds and bytes on a device: everything that was started has ended when the clock is read."""

import time
from typing import Any


class Clock:
    """One device's. `left_s` is what remains of the whole bench's time."""

    def __init__(self, device: Any, budget_s: float) -> None:
        self.device = device
        self._end = time.perf_counter() + budget_s

    @property
    def left_s(self) -> float:
        return self._end - time.perf_counter()

    def now(self) -> float:
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def forget_peak(self) -> None:
        if self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gb(self) -> float:
        """The most that was allocated at once since forget_peak, GB; 0 where nobody counts."""
        if self.device.type != "cuda":
            return 0.0
        import torch

        return float(torch.cuda.max_memory_allocated(self.device)) / 1e9


def matmul_tflops(clock: Clock) -> float:
    """What the device's own matrix product reaches, TFLOP/s: the rate that everything else is a share of."""
    import torch

    gpu = clock.device.type == "cuda"
    side, times = (8192, 40) if gpu else (256, 4)
    a, b = (torch.randn(side, side, device=clock.device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    begun = clock.now()
    for _ in range(times):
        a @ b
    return 2 * side**3 * times / (clock.now() - begun) / 1e12


class Idle:
    """How long a device waits while two jobs follow one another: the time between one job's last work and the next
    one's first, seen from the models' own forwards."""

    def __init__(self, clock: Clock, pipe: Any) -> None:
        self._clock = clock
        self._spans: list[tuple[float, float]] = []
        self._open = 0.0
        parts = [pipe.text_encoder, pipe.transformer, getattr(pipe, "transformer_2", None), pipe.vae.decoder]
        self._handles = [
            handle
            for part in parts
            if part is not None
            for handle in (part.register_forward_pre_hook(self._begin), part.register_forward_hook(self._end))
        ]

    def _begin(self, *_: Any) -> None:
        self._open = self._clock.now()

    def _end(self, *_: Any) -> None:
        self._spans.append((self._open, self._clock.now()))

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()

    def between(self, borders: list[float]) -> tuple[float, float]:
        """(idle seconds between two jobs, idle share of all) when jobs began at `borders` on this clock."""
        border = borders[1]
        last = max(end for begun, end in self._spans if begun < border)
        first = min(begun for begun, _ in self._spans if begun >= border)
        whole = self._spans[-1][1] - self._spans[0][0]
        return first - last, 1 - sum(end - begun for begun, end in self._spans) / whole
