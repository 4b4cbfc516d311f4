"""A worker's own trouble: a scratch disk that is full or broken, weights that are gone. No job is charged for it: its
attempt goes back uncounted, and the worker is out of service, or offers one model less, until that is over."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from farm.jobs.errors import FarmError

log = logging.getLogger(__name__)

#: free bytes of the scratch disk below which nothing is claimed; of a small disk, this part of it
FLOOR_BYTES, FLOOR_PART = 64_000_000, 0.05
#: a model whose weights were not there is offered again after this long, doubled each time until it was well for the
#: longest of these
PAUSE_S, PAUSE_MAX_S = 60.0, 3600.0
#: jobs remembered that went back because of the disk: one that fills it by itself goes back once
_REMEMBERED = 1000


class OwnTrouble(FarmError):
    """The worker cannot do what it was asked, whoever asks; with `model`, nothing of that model. The text is for
    operators."""

    def __init__(self, reason: str, model: str | None = None) -> None:
        super().__init__(reason)
        self.model = model


class OutOfService:
    """Of one agent, which keeps its attempts in `scratch`. Threads may share it."""

    def __init__(self, scratch: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._scratch, self._clock = scratch, clock
        self._lock = threading.Lock()
        self._disk: str | None = None
        self._returned: deque[str] = deque(maxlen=_REMEMBERED)
        #: model -> (reason, until when it is not offered, how long that was)
        self._models: dict[str, tuple[str, float, float]] = {}

    def report(self, trouble: OwnTrouble, job_id: str) -> bool:
        """An attempt at the job met it. Whether the job is free of blame; False where the same job met a broken disk
        here before, which was well in between."""
        log.error("out of service%s: %s", f" for {trouble.model}" if trouble.model else "", trouble)
        with self._lock:
            if trouble.model is not None:
                _, until, lasted_s = self._models.get(trouble.model, ("", 0.0, 0.0))
                well = self._clock() - until > PAUSE_MAX_S
                pause_s = min(2 * lasted_s, PAUSE_MAX_S) if lasted_s and not well else PAUSE_S
                self._models[trouble.model] = str(trouble), self._clock() + pause_s, pause_s
                return True
            self._disk = str(trouble)
            if job_id in self._returned:
                return False
            self._returned.append(job_id)
            return True

    def reason(self) -> str | None:
        """Why the worker can take no job now; looks whether that is over."""
        trouble = self._disk_trouble()
        with self._lock:
            if self._disk is not None and trouble is None:
                log.warning("back in service; it was out because of this: %s", self._disk)
            # the reported reason says more than the probe
            self._disk = trouble and (self._disk or trouble)
            return self._disk

    def offered(self, models: Iterable[str]) -> list[str]:
        """Those of the models that have no trouble of their own."""
        missing = self.missing()
        return [model for model in models if model not in missing]

    def missing(self) -> dict[str, str]:
        """Models that are not offered for a while, and why."""
        with self._lock:
            return {model: why for model, (why, until, _) in self._models.items() if self._clock() < until}

    def _disk_trouble(self) -> str | None:
        probe = self._scratch / ".probe"
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            free = os.statvfs(self._scratch)
            floor = min(FLOOR_BYTES, FLOOR_PART * free.f_blocks * free.f_frsize)
            if free.f_bavail * free.f_frsize < floor:
                return f"its scratch disk has less than {floor / 1e6:.0f} MB left"
            if self._disk is not None:
                probe.write_bytes(b"\0" * 65536)
                probe.unlink()
        except OSError as error:
            return disk_trouble(error)
        return None


def disk_trouble(error: OSError) -> str:
    """The reason of an OwnTrouble with the scratch disk, without a path."""
    return f"its scratch disk cannot be used: {error.strerror or type(error).__name__}"
