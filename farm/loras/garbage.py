"""Removes LoRA bytes that are no longer needed: of deleted LoRAs that no open job uses, and of checks that broke
off."""

import time
from collections.abc import Callable

from farm.jobs.states import TERMINAL, State
from farm.ledger import Ledger
from farm.loras.records import Records
from farm.storage.object_keys import lora_key
from farm.storage.store import Store

#: seconds that a deleted LoRA's bytes stay at least: a job that is being submitted may use it
GRACE_S = 600.0
#: bytes without a record are of a check that broke off; a running one takes no longer than this
ORPHAN_S = 86400.0
_OPEN = tuple(state for state in State if state not in TERMINAL)
_PAGE = 200


class LoraGarbage:
    """Every call may raise Unavailable; what was left then is found by the next."""

    def __init__(
        self, records: Records, store: Store, ledger: Ledger, *, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._records, self._store, self._ledger, self._clock_s = records, store, ledger, clock_s

    def sweep(self) -> int:
        """Remove them; answers how many LoRAs went."""
        return sum(map(self._deleted, self._records.tenants())) + self._orphans()

    def _deleted(self, tenant: str) -> int:
        before_ms = (self._clock_s() - GRACE_S) * 1000
        gone = [one for one in self._records.of(tenant) if one.deleted_ms is not None and one.deleted_ms <= before_ms]
        if not gone:
            return 0
        used = self._used(tenant)
        free = [one.id for one in gone if one.id not in used]
        if free:
            self._store.delete(*(lora_key(tenant, lora_id) for lora_id in free))
            self._records.forget(tenant, *free)
        return len(free)

    def _used(self, tenant: str) -> set[str]:
        """Ids of the LoRAs that the tenant's open jobs use."""
        used: set[str] = set()
        cursor = None
        while True:
            page = self._ledger.page(tenant, states=_OPEN, cursor=cursor, limit=_PAGE)
            used |= {str(lora["id"]) for job in page.jobs for lora in job.spec.loras if "id" in lora}
            if page.cursor is None:
                return used
            cursor = page.cursor

    def _orphans(self) -> int:
        after, gone = None, 0
        while True:
            found = self._store.list("loras/", after=after, limit=_PAGE)
            old = [one.key for one in found if one.modified_s < self._clock_s() - ORPHAN_S]
            orphans = [key for key in old if not self._known(key)]
            if orphans:
                self._store.delete(*orphans)
            gone += len(orphans)
            if len(found) < _PAGE:
                return gone
            after = found[-1].key

    def _known(self, key: str) -> bool:
        _, tenant, lora_id = key.split("/", 2)
        return self._records.known(tenant, lora_id)
