"""Every job that this process follows, on one schedule: what is due is done by a few threads, and results are fetched
by others, so that a large file keeps nobody from being asked about."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from farm.burst.followed import Followed, Next
from farm.jobs.errors import Unavailable
from farm.tracing import about

log = logging.getLogger(__name__)

#: after a step that failed in a way that nobody thought of
_PUZZLED_S = 10.0


class Followers:
    """Threads may share one. `turn` is called by one thread, until `close`."""

    def __init__(self, threads: int, downloads: int) -> None:
        self._steps = ThreadPoolExecutor(threads, "follow")
        self._fetches = ThreadPoolExecutor(downloads, "fetch")
        self._lock = threading.Lock()
        self._due: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._all: dict[str, Followed] = {}
        #: at a step now; what was told meanwhile is done right after it
        self._busy: set[str] = set()
        self._running = 0
        self._told: set[str] = set()
        self.changed = threading.Event()

    def __len__(self) -> int:
        return len(self._all)

    def follow(self, followed: Followed, in_s: float = 0.0) -> None:
        """From now on."""
        with self._lock:
            self._all[followed.purchase.nonce] = followed
            self._push(followed.purchase.nonce, in_s)

    def told(self, nonce: str) -> None:
        """A callback came for this purchase; followed elsewhere, nothing happens."""
        with self._lock:
            if nonce in self._busy:
                self._told.add(nonce)
            elif nonce in self._all:
                self._all[nonce].heard_callback = True
                self._push(nonce, 0.0)

    def turn(self) -> float:
        """Begin every step that is due. Answers how long nothing more will be."""
        with self._lock:
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                _, _, nonce = heapq.heappop(self._due)
                if nonce in self._all and nonce not in self._busy:
                    self._busy.add(nonce)
                    self._steps.submit(self._step, self._all[nonce], self._all[nonce].step)
            return max(0.0, self._due[0][0] - now) if self._due else 60.0

    def close(self, wait_s: float) -> None:
        """Hand every job to whoever comes next. What is at a step ends it first, for so long at most."""
        self._steps.shutdown(wait=False, cancel_futures=True)
        self._fetches.shutdown(wait=False, cancel_futures=True)
        end = time.monotonic() + wait_s
        while self._running and time.monotonic() < end:
            self.changed.wait(0.05)
            self.changed.clear()
        with self._lock:
            for followed in self._all.values():
                with suppress(Unavailable):
                    followed.release()
            self._all.clear()

    def _step(self, followed: Followed, step: Callable[[], float | Next]) -> None:
        nonce = followed.purchase.nonce
        with self._lock:
            self._running += 1
        with about(followed.job.id):
            try:
                following = step()
            except Exception:
                log.exception("%s", followed.job.id)
                following = _PUZZLED_S
        with self._lock:
            self._running -= 1
            if following is Next.DELIVER and nonce in self._all:
                with suppress(RuntimeError):  # it closes
                    self._fetches.submit(self._step, followed, followed.deliver)
                    return
            self._busy.discard(nonce)
            told = nonce in self._told
            self._told.discard(nonce)
            if following is Next.OVER:
                self._all.pop(nonce, None)
            elif isinstance(following, float) and nonce in self._all:
                followed.heard_callback = followed.heard_callback or told
                self._push(nonce, 0.0 if told else following)
        self.changed.set()

    def _push(self, nonce: str, in_s: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + in_s, next(self._order), nonce))
        self.changed.set()
