"""An estimate of the ledger's clock that needs no round trip. A call that must not run late carries its deadline in
that clock."""

import threading
import time
from collections.abc import Callable

#: seconds that an answer is good for; clocks are set, and servers replaced
_FRESH_S = 10.0


class ServerClock:
    """`ask` is the server's time in ms, from the server itself. Threads may share one."""

    def __init__(self, ask: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._lock = threading.Lock()
        #: when it was learned, and what the server's clock said then
        self._learned: tuple[float, int] | None = None

    def in_ms(self, seconds: float) -> int:
        """The server's time in `seconds` from now, ms since the epoch: too early by a little rather than too late."""
        with self._lock:
            learned = self._learned
        if learned is None or self._clock() - learned[0] > _FRESH_S:
            learned = self.learn(self._ask())
        at, server_ms = learned
        return server_ms + int((self._clock() - at + seconds) * 1000)

    def learn(self, server_ms: int) -> tuple[float, int]:
        """Take over a time that the server has just answered. While the answer was on its way a little time passed, so
        the estimate is a little early."""
        with self._lock:
            self._learned = self._clock(), server_ms
            return self._learned
