"""Garbage collection of inputs: uploads that were checked or never named, and inputs whose last job was
forgotten long ago. Age decides; `Intake.keep` renews what a new job uses, and what an open job uses stays."""

import logging
import time
from collections.abc import Callable

from farm.jobs.states import TERMINAL, State
from farm.ledger import Ledger
from farm.storage.store import Store
from farm.storage.uploads import UPLOAD_TTL_S

log = logging.getLogger(__name__)

#: uploads stay as long as they can be named
UPLOADS_KEPT_S = float(UPLOAD_TTL_S)
#: stored inputs are kept for this many retentions of a finished job: one while jobs may newly use it without renewing
#: it, one to wait in a queue, one after the job ended
INPUT_RETENTIONS = 3
#: objects looked at by one sweep
_PAGE, _PAGES = 500, 10
_OPEN = tuple(state for state in State if state not in TERMINAL)


class InputGarbage:
    """One per io worker; not for two threads at once. A new process begins at the beginning."""

    def __init__(
        self,
        store: Store,
        retention_s: float,
        clock_s: Callable[[], float] = time.time,
        used: Callable[[str], set[str]] = lambda _tenant: set(),
    ) -> None:
        """`used`: keys of the inputs of a tenant's open jobs; asked only where some of its inputs are old."""
        self._store, self._used = store, used
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
            old = self._unused([one.key for one in found if one.modified_s < self._clock_s() - kept_s])
            if old:
                log.info("removing %d of %s", len(old), prefix)
                self._store.delete(*old)
                gone += len(old)
            self._swept_to[prefix] = found[-1].key if len(found) == _PAGE else None
            if self._swept_to[prefix] is None:
                break
        return gone

    def _unused(self, keys: list[str]) -> list[str]:
        used: dict[str, set[str]] = {}
        for tenant in {key.split("/", 2)[1] for key in keys}:
            used[tenant] = self._used(tenant)
        return [key for key in keys if key not in used[key.split("/", 2)[1]]]


def open_inputs(ledger: Ledger, tenant: str) -> set[str]:
    """Keys of all inputs of the tenant's jobs that are not over."""
    keys: set[str] = set()
    cursor = None
    while True:
        page = ledger.page(tenant, states=_OPEN, cursor=cursor, limit=_PAGE)
        keys |= {ref.key for job in page.jobs for ref in job.spec.inputs.values() if ref.key is not None}
        if page.cursor is None:
            return keys
        cursor = page.cursor
