"""Threads for requests, and who gets the next one: callers take turns, and none holds more than half of them."""

import logging
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from farm.jobs.errors import TooMany, Unavailable

log = logging.getLogger(__name__)

#: requests that may wait for a thread: of one caller, and of all
_QUEUED_EACH, _QUEUED_ALL = 128, 1024
_RETRY_S = 2.0

Work = Callable[[], None]


class Places:
    """`threads` threads, started with the first request (after the fork). `work` raises nothing."""

    def __init__(self, threads: int) -> None:
        self._threads, self._share = threads, max(1, threads // 2)
        self._waiting: OrderedDict[str, deque[Work]] = OrderedDict()
        self._running: Counter[str] = Counter()
        self._queued = self._started = self._idle = 0
        self._ready = threading.Condition()

    def run(self, caller: str, work: Work) -> None:
        """Soon, in a thread. Raises TooMany when the caller has too many that wait, Unavailable when all have."""
        with self._ready:
            mine = self._waiting.get(caller)
            if self._queued >= _QUEUED_ALL:
                raise Unavailable("too many requests at once; try again in a moment", _RETRY_S)
            if mine is not None and len(mine) >= _QUEUED_EACH:
                raise TooMany("too many of your requests are waiting already", retry_after_s=_RETRY_S)
            if mine is None:
                mine = self._waiting[caller] = deque()
            mine.append(work)
            self._queued += 1
            if self._idle:
                self._ready.notify()
            elif self._started < self._threads:
                self._started += 1
                threading.Thread(target=self._serve, name=f"request-{self._started}", daemon=True).start()

    def _serve(self) -> None:
        while True:
            with self._ready:
                while (found := self._next()) is None:
                    self._idle += 1
                    self._ready.wait()
                    self._idle -= 1
                caller, work = found
                self._running[caller] += 1
            try:
                work()
            except Exception:
                log.exception("a request ended badly")
            del work, found
            with self._ready:
                self._running[caller] -= 1
                if not self._running[caller]:
                    del self._running[caller]
                if caller in self._waiting and self._idle:
                    self._ready.notify()

    def _next(self) -> tuple[str, Work] | None:
        """The first request of the caller who waits longest for a turn and may have one."""
        for caller in self._waiting:
            if self._running[caller] < self._share:
                mine = self._waiting[caller]
                work = mine.popleft()
                self._queued -= 1
                del self._waiting[caller]
                if mine:
                    # at the end: the others come first now
                    self._waiting[caller] = mine
                return caller, work
        return None
