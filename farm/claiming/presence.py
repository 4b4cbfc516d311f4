"""Announces a worker to the ledger: at a third of a lease from a thread of its own, at once when its status changes."""

import logging
import threading
import time
from collections.abc import Callable

from farm.jobs.errors import Unavailable
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger

log = logging.getLogger(__name__)

#: how often a worker looks around (`on_look`), and how soon it announces itself again after Redis was away
LOOK_S = 5.0


class Presence:
    """`status` makes the worker's status; `slots` is how many jobs may be woken at the worker at once, 0 for none."""

    def __init__(
        self,
        ledger: Ledger,
        worker: str,
        pool: str,
        status: Callable[[], WorkerStatus],
        slots: Callable[[], int],
        *,
        lease_s: float,
        on_look: Callable[[], None] = lambda: None,
        on_away: Callable[[], None] = lambda: None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """It announces itself every lease_s / 3 and counts as live for lease_s. `on_look` is called after each
        announcement and every few seconds, and may ask the ledger more, `on_away` when Redis did not answer. `go_on` is
        asked after either; False ends the thread."""
        self._ledger, self._worker, self._pool = ledger, worker, pool
        self._status, self._slots = status, slots
        self._lease_s, self._on_look, self._on_away, self._go_on = lease_s, on_look, on_away, go_on
        self._due = 0.0
        self._told: tuple[WorkerStatus, int] | None = None
        self._stopped = threading.Event()
        self._news = threading.Event()
        self._announcing = threading.Lock()

    def start(self) -> None:
        """Begin to announce, in a thread."""
        threading.Thread(target=self._run, name="presence", daemon=True).start()

    def news(self) -> None:
        """The status has changed: announce it at once. Without this, a change is noticed at the next look."""
        self._news.set()

    def stop(self) -> None:
        """Announce nothing more."""
        self._stopped.set()
        self._news.set()

    def leave(self, *, seen_for_s: float = 0.0) -> None:
        """Announce nothing more and leave the ledger; or stay listed with the last status, not woken, for seen_for_s.
        Raises Unavailable."""
        self.stop()
        with self._announcing:
            if seen_for_s:
                self._ledger.worker_seen(self._worker, self._pool, self._status(), ttl_s=seen_for_s, slots=0)
            else:
                self._ledger.worker_gone(self._worker, self._pool)

    def _run(self) -> None:
        while not self._stopped.is_set():
            if self._news.is_set():
                self._news.clear()
                self._due = 0.0
            try:
                if time.monotonic() >= self._due or self._told != (self._status(), self._slots()):
                    self._announce()
                    self._due = time.monotonic() + self._lease_s / 3
                self._on_look()
            except Unavailable as error:
                log.warning("could not announce this worker: %s", error)
                self._due = 0.0
                self._on_away()
            except Exception:
                # this thread may also be what notices that the worker is useless
                log.exception("presence")
            if not self._go_on():
                return
            self._news.wait(min(LOOK_S, self._lease_s / 3))

    def _announce(self) -> None:
        with self._announcing:
            if not self._stopped.is_set():
                status, slots = self._status(), self._slots()
                self._ledger.worker_seen(self._worker, self._pool, status, ttl_s=self._lease_s, slots=slots)
                self._told = status, slots
