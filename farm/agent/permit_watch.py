"""Whether permits reach an agent: an idle one that hears none although jobs wait has lost its broker, and one whose
broker takes none (it is full, or away) claims by itself."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from farm.claiming.claims import Claims
from farm.config import Settings
from farm.ledger import Ledger


class PermitWatch:
    """Of one agent. Threads may share it."""

    def __init__(self, ledger: Ledger, claims: Claims, settings: Settings) -> None:
        self._ledger, self._claims = ledger, claims
        self._overdue_s, self._deaf_s = settings.scheduling.permit_ttl_s, settings.worker.deaf_s
        self._heard = time.monotonic()
        self._turn = threading.Lock()
        self._serving = False
        self._unheard_since: float | None = None
        self._refused = False

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A permit came, and the agent serves it: no other is heard meanwhile. One that comes while the agent works
        without one waits for its turn."""
        self._heard, self._refused = time.monotonic(), False
        try:
            with self._at_work():
                yield
        finally:
            self._heard = time.monotonic()

    @contextmanager
    def serving_none(self) -> Iterator[bool]:
        """The agent works without a permit; False where one has come after all."""
        if self._turn.locked():
            yield False
            return
        with self._at_work():
            yield True

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._turn:
            self._serving = True
            try:
                yield
            finally:
                self._serving = False

    def look(self, *, idle: bool) -> bool:
        """Ask for permits if jobs wait for this idle agent; whether they do. Raises Unavailable."""
        now = time.monotonic()
        if not idle or self._serving or not self._ledger.claimable(self._claims.pool, most=1):
            self._unheard_since = None
            return False
        since = self._unheard_since
        taken = self._claims.wake(heard_none=since is not None and now - since > self._overdue_s)
        if taken is not None:
            self._refused = not taken
        if since is None or self._heard > since or self._refused:
            # what the broker did not take cannot be heard
            self._unheard_since = now
        return True

    @property
    def at_work(self) -> bool:
        """Whether the agent serves a permit, or works without one."""
        return self._serving

    def heard_since(self, moment: float) -> bool:
        """Whether a permit was served after `moment` of time.monotonic()."""
        return self._heard > moment

    @property
    def refused(self) -> bool:
        """Whether the broker did not take the last permits that were asked for, and jobs wait."""
        return self._refused

    def forget(self) -> None:
        """Redis is away: silence means nothing."""
        self._unheard_since = None

    def deaf(self) -> bool:
        """Whether jobs have waited for worker.deaf_s and no permit came."""
        since = self._unheard_since
        return since is not None and time.monotonic() - since > self._deaf_s
