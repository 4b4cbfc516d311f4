"""An operator who settles purchases of which the farm knows no end, as docs/burst.md says: looks into the provider's
own log, and tells the farm over HTTP what it says."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Self

from farm.client import Client
from farm.config import Settings
from farm.jobs.errors import Unavailable
from farm.jobs.roles import Role
from farm.ledger.connection import connect
from farm.tenants.tenants import Tenants

TENANT = "ops"


def operator_key(settings: Settings) -> str:
    """The key of an operator of that farm. Raises Unavailable."""
    with connect(settings.redis) as redis:
        tenants = Tenants(redis, settings)
        tenants.create(TENANT)
        return tenants.api_keys.create(TENANT, role=Role.OPERATOR)[1]


class Operator:
    """`page`: the providers' logs of what they took, the id there by the name of its purchase. A callback's address
    ends with that name."""

    def __init__(self, url: str, key: str, page: Callable[[], Mapping[str, str]]) -> None:
        self._client, self._page = Client(url, key, patience_s=10.0), page
        self.arrived = self.never_arrived = 0

    def settle(self) -> None:
        """Every purchase that its job has left and whose id is not known. Raises Unavailable, when some may be done."""
        left = [one.purchase for one in self._client.spending.purchases("left") if one.id is None]
        # read after the list: what is not on it by now was never taken
        page = self._page() if left else {}
        for purchase in left:
            there = page.get(purchase)
            if there:
                self.arrived += self.say(purchase, arrived_as=there)
            else:
                self.never_arrived += self.say(purchase, cost_usd=0.0)

    def say(self, purchase: str, *, arrived_as: str | None = None, cost_usd: float | None = None) -> bool:
        """What the page says of one purchase; whether that was news. Raises Unavailable, when it may be done."""
        return self._client.spending.settle(purchase, arrived_as=arrived_as, cost_usd=cost_usd, why="the page says it")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Looks again and again, also while the farm cannot answer."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(1.0):
                with suppress(Unavailable):
                    self.settle()

        with ThreadPoolExecutor(1) as thread:
            working = thread.submit(work)
            try:
                yield
            finally:
                over.set()
            working.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
