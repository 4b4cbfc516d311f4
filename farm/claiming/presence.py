"""Keeps a worker among the live ones of the ledger: announces it when its status changes, and renews that at a third of
a lease. Heartbeats of its leases (farm.claiming.leases) take the renewal along: a busy worker makes one call."""

import logging
import threading
import time
from collections.abc import Callable

from farm.jobs.errors import Unavailable
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger
from farm.ledger.outcomes import BeatAnswer, PresenceBeat
from farm.ledger.workforce import mark

log = logging.getLogger(__name__)

#: how often a worker looks around (`on_look`), and how soon it announces itself again after Redis was away
LOOK_S = 5.0
#: of a lease: a heartbeat that comes sooner after a renewal takes none along; and after one that took it along, the own
#: thread waits for the next one for so long
_SOON, _CARRIED = 1 / 6, 0.55


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
        on_reaped: Callable[[str | None], None] = lambda _last: None,
        on_away: Callable[[], None] = lambda: None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """It is renewed every lease_s / 3 and counts as live for lease_s. `on_look` is called after each renewal of the
        own thread and every few seconds, and may ask the ledger more, `on_away` when Redis did not answer. `go_on` is
        asked after either; False ends the thread. `on_reaped` hears when the last reap was, from any thread: it must
        return at once."""
        self._ledger, self._worker, self._pool = ledger, worker, pool
        self._status, self._slots = status, slots
        self._lease_s, self._on_look, self._on_away, self._go_on = lease_s, on_look, on_away, go_on
        self._on_reaped = on_reaped
        self._due, self._renewed = 0.0, 0.0
        self._told: tuple[WorkerStatus, int] | None = None
        self._beat: PresenceBeat | None = None
        self._stopped = threading.Event()
        self._news = threading.Event()
        self._announcing = threading.Lock()

    def start(self) -> None:
        """Begin to announce, in a thread."""
        threading.Thread(target=self._run, name="presence", daemon=True).start()

    def renewal(self) -> PresenceBeat | None:
        """For a heartbeat to take along; None when there is nothing to renew, or was renewed just now."""
        # heartbeats run: the own thread leaves it to the next one
        self._due = max(self._due, self._renewed + _CARRIED * self._lease_s)
        if self._stopped.is_set() or time.monotonic() < self._renewed + _SOON * self._lease_s:
            return None
        return self._beat

    def renewed(self, answer: BeatAnswer) -> None:
        """The ledger's answer to a heartbeat that took the renewal along."""
        self._on_reaped(answer.reaped)
        if answer.known:
            self._renewed = time.monotonic()
            self._due = self._renewed + _CARRIED * self._lease_s
        else:
            self._told = self._beat = None
            self.news()

    def news(self) -> None:
        """The status may have changed: look at once. Without this, a change is noticed at the next look."""
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
                if time.monotonic() >= self._due or self._told != (self._status(), self._slots()):
                    self._announce()
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
            if self._stopped.is_set():
                return
            status, slots = told = self._status(), self._slots()
            if self._told != told or not self._renew():
                self._ledger.worker_seen(self._worker, self._pool, status, ttl_s=self._lease_s, slots=slots)
                self._told = told
                self._beat = PresenceBeat(self._worker, self._pool, mark(status, slots), self._lease_s)
            self._renewed = time.monotonic()
            self._due = self._renewed + self._lease_s / 3

    def _renew(self) -> bool:
        """Whether the ledger still had what was told last."""
        if (beat := self._beat) is None:
            return False
        answer = self._ledger.beat((), beat)
        self._on_reaped(answer.reaped)
        return answer.known
