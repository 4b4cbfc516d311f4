"""Input bytes that nobody needs any more: uploads that were looked at or never named, and inputs whose last job was
forgotten long ago. Judged by age alone; `Intake.keep` renews what a new job uses."""

import logging
import time
from collections.abc import Callable

from farm.storage.store import Store

log = logging.getLogger(__name__)

#: an upload stays for as long as an idempotency key is remembered: a repeated request finds it
UPLOADS_KEPT_S = 24 * 3600.0
#: stored inputs are kept for this many retentions of a finished job: one while jobs may newly use it without renewing
#: it, one to wait in a queue, one after the job ended
INPUT_RETENTIONS = 3
#: objects looked at by one sweep
_PAGE, _PAGES = 500, 10


class InputGarbage:
    """One per io worker; not for two threads at once. A new process begins at the beginning."""

    def __init__(self, store: Store, retention_s: float, clock_s: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock_s = clock_s
        self._kept_s = {"uploads/": UPLOADS_KEPT_S, "inputs/": INPUT_RETENTIONS * retention_s}
        self._swept_to: dict[str, str | None] = {}

    def sweep(self) -> int:
        """Look at some more; answers how many objects went."""
        return sum(self._sweep(prefix, kept_s) for prefix, kept_s in self._kept_s.items())

    def _sweep(self, prefix: str, kept_s: float) -> int:
        gone = 0
        for _ in range(_PAGES):
            found = self._store.list(prefix, after=self._swept_to.get(prefix), limit=_PAGE)
            old = [one.key for one in found if one.modified_s < self._clock_s() - kept_s]
            if old:
                log.info("removing %d of %s", len(old), prefix)
                self._store.delete(*old)
                gone += len(old)
            self._swept_to[prefix] = found[-1].key if len(found) == _PAGE else None
            if self._swept_to[prefix] is None:
                break
        return gone
