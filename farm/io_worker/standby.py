"""Runs beat's duties also when beat does not ask: it may hang, its broker be away, or its clock be set."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

#: a duty is overdue after so many of its intervals, and a moment
_INTERVALS, _MOMENT_S = 3, 2.0
_LOOK_S = 1.0


class Standby:
    """`every_s`: name of a duty -> how often it is asked for. `begin(name)` begins one and returns at once."""

    def __init__(
        self,
        every_s: Mapping[str, float],
        begin: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every_s, self._begin, self._clock = dict(every_s), begin, clock
        self._asked = dict.fromkeys(every_s, clock())

    def asked(self, name: str) -> None:
        """Beat asked for the duty just now."""
        self._asked[name] = self._clock()

    def look(self) -> list[str]:
        """Begin what is overdue; its names."""
        now = self._clock()
        overdue = [
            name
            for name, every_s in self._every_s.items()
            if now - self._asked[name] > _INTERVALS * every_s + _MOMENT_S
        ]
        for name in overdue:
            log.warning("beat did not ask for %s for %.0f s: it runs without beat", name, now - self._asked[name])
            self._asked[name] = now
            self._begin(name)
        return overdue

    def start(self, stopped: threading.Event) -> None:
        """Look every second until `stopped`, from a thread."""
        threading.Thread(target=self._keep, args=(stopped,), name="standby", daemon=True).start()

    def _keep(self, stopped: threading.Event) -> None:
        while not stopped.wait(_LOOK_S):
            try:
                self.look()
            except Exception:
                log.exception("standby")
