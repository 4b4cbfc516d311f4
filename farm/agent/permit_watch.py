"""Whether permits reach an agent: an idle one that hears none although jobs wait has lost its broker."""

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
        self._serving = False
        self._unheard_since: float | None = None

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A permit came, and the agent serves it: no other is heard meanwhile."""
        self._serving, self._heard = True, time.monotonic()
        try:
            yield
        finally:
            self._heard = time.monotonic()
            self._serving = False

    def look(self, *, idle: bool) -> bool:
        """Ask for permits if jobs wait for this idle agent; whether they do. Raises Unavailable."""
        now = time.monotonic()
        if not idle or self._serving or not self._ledger.claimable(self._claims.pool, most=1):
            self._unheard_since = None
            return False
        since = self._unheard_since
        self._claims.wake(heard_none=since is not None and now - since > self._overdue_s)
        if since is None or self._heard > since:
            self._unheard_since = now
        return True

    def forget(self) -> None:
        """Redis is away: silence means nothing."""
        self._unheard_since = None

    def deaf(self) -> bool:
        """Whether jobs have waited for worker.deaf_s and no permit came."""
        since = self._unheard_since
        return since is not None and time.monotonic() - since > self._deaf_s
