"""Forecasts of the queues as this gateway read them a moment ago: a list of two hundred jobs asks once."""

import threading
import time
from collections.abc import Callable

from farm.jobs.job import Job
from farm.jobs.states import Tier
from farm.scheduling.forecast import LineForecast

#: seconds; housekeeping makes a new one every few
_FRESH_S = 2.0
#: lines that are kept; with more, all are read again
_MOST = 2_000


class RecentForecasts:
    """`read` is Ledger.forecast. Threads may share one."""

    def __init__(
        self,
        read: Callable[[str, Tier, str], LineForecast | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._clock = read, clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, Tier, str], tuple[float, LineForecast | None]] = {}

    def line(self, job: Job) -> LineForecast | None:
        """Of the line in which the job waits. Raises Unavailable."""
        asked, now = (job.pool, job.tier, job.tenant), self._clock()
        with self._lock:
            when, found = self._known.get(asked, (-1e9, None))
        if now - when >= _FRESH_S:
            found = self._read(*asked)
            with self._lock:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[asked] = now, found
        return found
