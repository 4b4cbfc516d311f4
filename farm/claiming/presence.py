"""Announces a worker to the ledger: every few seconds from a thread of its own, at once when its status changes."""

import logging
import threading
from collections.abc import Callable

from farm.jobs.errors import Unavailable
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger

log = logging.getLogger(__name__)

#: how often a worker announces itself, and for how long it then counts as live
EVERY_S, BELIEVED_S = 2.0, 10.0


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
        on_announced: Callable[[], None] = lambda: None,
        on_away: Callable[[], None] = lambda: None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """`on_announced` is called after each announcement and may ask the ledger more, `on_away` when Redis did not
        answer. `go_on` is asked after either; False ends the thread."""
        self._ledger, self._worker, self._pool = ledger, worker, pool
        self._status, self._slots = status, slots
        self._on_announced, self._on_away, self._go_on = on_announced, on_away, go_on
        self._stopped = threading.Event()
        self._news = threading.Event()
        self._announcing = threading.Lock()

    def start(self) -> None:
        """Begin to announce, in a thread."""
        threading.Thread(target=self._run, name="presence", daemon=True).start()

    def news(self) -> None:
        """The status has changed: announce it at once."""
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
            self._news.clear()
            try:
                self._announce()
                self._on_announced()
            except Unavailable as error:
                log.warning("could not announce this worker: %s", error)
                self._on_away()
            except Exception:
                # this thread may also be what notices that the worker is useless
                log.exception("presence")
            if not self._go_on():
                return
            self._news.wait(EVERY_S)

    def _announce(self) -> None:
        with self._announcing:
            if not self._stopped.is_set():
                self._ledger.worker_seen(
                    self._worker, self._pool, self._status(), ttl_s=BELIEVED_S, slots=self._slots()
                )
