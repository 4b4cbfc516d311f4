"""A request to end one attempt early, and its reason. The attempt's thread reads it; other threads make it."""

import threading
import time

from farm.engine.process import Engine
from farm.jobs.errors import FarmError
from models.planning.request import Cancelled


class Lost(FarmError):
    """Another attempt holds the lease: this one may write nothing any more."""


class HandedBack(FarmError):
    """The attempt goes back to the queue, uncounted."""


#: why an attempt is to end
Reason = type[FarmError] | type[Cancelled]


class StopRequest:
    """Of one attempt; `render_id` is its name in the engine. Threads may share it."""

    def __init__(self, render_id: str) -> None:
        self._render_id = render_id
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._waiting = True
        self._reason: Reason | None = None
        #: when the attempt was first asked to stop, by time.monotonic()
        self.asked_at: float | None = None

    def ask(self, reason: Reason) -> None:
        """Make the attempt end with `reason` (Cancelled, Lost or HandedBack) as soon as it can. The first reason
        counts, but Lost and HandedBack replace Cancelled."""
        with self._lock:
            if self._reason is None or self._reason is Cancelled:
                self._reason = reason
            if self.asked_at is None:
                self.asked_at = time.monotonic()
            engine = self._engine
        if engine is None:
            return
        if reason is HandedBack:
            engine.kill()
        else:
            engine.cancel(self._render_id)

    def ask_if_waiting(self) -> None:
        """Hand the attempt back if it has had no engine yet; any other goes on."""
        with self._lock:
            if self._waiting and self._reason is None:
                self._reason = HandedBack

    def check(self) -> None:
        """Raise the reason if the attempt is to end."""
        if self._reason is not None:
            raise self._reason()

    def use(self, engine: Engine) -> None:
        """The attempt renders on `engine` from now on: a request reaches it there."""
        with self._lock:
            self._engine, self._waiting = engine, False

    def leave(self) -> None:
        """The attempt has left its engine."""
        with self._lock:
            self._engine = None
