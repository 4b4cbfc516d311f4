"""What the card says of itself while it is measured, several times a second: watts, clocks, heat, memory. NVML only
looks."""

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_EVERY_S = 0.25


class Power:
    """Of the first GPU, into a CSV file from now on; nothing where there is no NVML."""

    def __init__(self, path: Path | None) -> None:
        self._over = threading.Event()
        self._seen: list[tuple[float, float, float]] = []
        self._path = path
        self._thread = threading.Thread(target=self._look, daemon=True, name="power")
        self._thread.start()

    def mean(self, since: float) -> dict[str, float]:
        """{watts, sm_mhz} since time.perf_counter() said so."""
        seen = [(watts, mhz) for at, watts, mhz in list(self._seen) if at >= since]
        if not seen:
            return {}
        return {
            "watts": round(sum(watts for watts, _ in seen) / len(seen)),
            "sm_mhz": round(sum(mhz for _, mhz in seen) / len(seen)),
        }

    def close(self) -> None:
        self._over.set()

    def _look(self) -> None:
        with suppress(Exception):
            import pynvml as nvml

            nvml.nvmlInit()
            gpu: Any = nvml.nvmlDeviceGetHandleByIndex(0)
            begun = time.perf_counter()
            while not self._over.wait(_EVERY_S):
                at = time.perf_counter()
                watts = nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3
                mhz = nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)
                heat = nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)
                used = nvml.nvmlDeviceGetMemoryInfo(gpu).used / 1e9
                why = 0
                with suppress(Exception):
                    why = nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)
                self._seen.append((at, watts, float(mhz)))
                if self._path is not None:
                    with self._path.open("a") as file:
                        file.write(f"{at - begun:.2f},{watts:.0f},{mhz},{heat},{used:.1f},{why:#x}\n")
