"""Any worker reaps when no reap ran lately: leases also expire while the io worker or beat is away."""

import math
import time

from farm.claiming.permits import Permits
from farm.config import Settings
from farm.ledger import Ledger

#: reaps that may be missed, and the least time, before others step in, s
_INTERVALS, _LEAST_S = 3, 10.0
#: calls of one look: its thread has more to do than that
_CALLS = 200


class StandbyReaper:
    """Any process may hold one and let it look every few seconds."""

    def __init__(self, ledger: Ledger, permits: Permits, settings: Settings) -> None:
        self._ledger, self._permits = ledger, permits
        self._after_s = max(_LEAST_S, _INTERVALS * settings.scheduling.reap_every_s)
        #: when the last reap was, and when that was heard
        self._last: str | None = None
        self._at = -math.inf
        self._heard: tuple[float, str | None] = (-math.inf, None)
        self._more = False

    def heard(self, last: str | None) -> None:
        """When the last reap was, as a heartbeat heard: `look` need not ask."""
        self._heard = time.monotonic(), last

    def look(self) -> None:
        """The script is asked only where nobody reaped for as long as a reap may be missed. Where no heartbeat tells of
        reaps, that costs one GET in twice that time. Once begun, it goes on until nothing is left to do: a call sees to
        a few leases only, and one that comes late begins with giving each of them more time. Raises Unavailable."""
        if self._more:
            self._reap()
            return
        at, last = self._heard
        if at < self._at + self._after_s:
            at = time.monotonic()
            if at < self._at + 2 * self._after_s:
                return
            last = self._ledger.last_reap()
        self._at = at
        if self._last in (None, last):
            self._reap(unless_s=self._after_s)
        else:
            self._last = last

    def _reap(self, unless_s: float = 0.0) -> None:
        for _ in range(_CALLS):
            report = self._ledger.reap(unless_s=unless_s)
            self._more, unless_s = report.more, 0.0
            self._permits.publish(report.permits)
            if not report.more:
                break
        self._at, self._last = time.monotonic(), self._ledger.last_reap()
