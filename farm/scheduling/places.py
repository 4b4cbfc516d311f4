"""So many at once, and of one tenant no more than a share: who has a place is never asked to wait for one. Pure."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class TenantPlaces:
    """`most` places, of which one tenant may have half. Threads may share one."""

    def __init__(self, most: int) -> None:
        self._most, self._each = most, max(1, most // 2)
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """How many places are taken, of all tenants."""
        with self._lock:
            return self._taken.total()

    def take(self, tenant: str) -> bool:
        """True when there was a free place; the caller must give it back."""
        with self._lock:
            if self._taken.total() >= self._most or self._taken[tenant] >= self._each:
                return False
            self._taken[tenant] += 1
            return True

    def give(self, tenant: str) -> None:
        """Give the tenant's place back."""
        with self._lock:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]

    @contextmanager
    def one(self, tenant: str) -> Iterator[bool]:
        """Whether there is a place, for as long as the block takes."""
        got = self.take(tenant)
        try:
            yield got
        finally:
            if got:
                self.give(tenant)
