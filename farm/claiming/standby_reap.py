"""Any worker reaps when no reap ran lately: leases also expire while the io worker or beat is away."""

import time

from farm.claiming.permits import Permits
from farm.config import Settings
from farm.ledger import Ledger

#: reaps that may be missed, and the least time, before others step in, s
_INTERVALS, _LEAST_S = 3, 10.0


class StandbyReaper:
    """Any process may hold one and let it look every few seconds."""

    def __init__(self, ledger: Ledger, permits: Permits, settings: Settings) -> None:
        self._ledger, self._permits = ledger, permits
        self._after_s = max(_LEAST_S, _INTERVALS * settings.scheduling.reap_every_s)
        self._due = 0.0
        self._last: str | None = None

    def look(self) -> None:
        """Costs one GET in as long as a reap may be missed: the script is asked only where nobody reaped since the last
        look. Raises Unavailable."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._after_s
        last = self._ledger.last_reap()
        if self._last in (None, last):
            self._permits.publish(self._ledger.reap(unless_s=self._after_s).permits)
            last = self._ledger.last_reap()
        self._last = last
