"""The farm's ledger and what hangs on it, for the commands that run beside it: through its Redis, not over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farm.cli.session import Session

if TYPE_CHECKING:
    from farm.ledger import Ledger
    from farm.tenants.tenants import Tenants
    from farm.tenants.vault import Vault
    from farm.webhooks.deliveries import Deliveries


@dataclass(frozen=True)
class Here:
    """What a command on the farm's own machine works with."""

    ledger: "Ledger"
    tenants: "Tenants"
    secrets: "Vault"
    deliveries: "Deliveries"

    def known(self, tenant: str) -> str:
        """The tenant's id; NotFound where there is none, so that a slip of the pen books nothing."""
        from farm.jobs.errors import NotFound

        if self.tenants.get(tenant) is None:
            raise NotFound(f"no tenant {tenant!r}; see wanfarm tenants list")
        return tenant


@contextmanager
def farm_here(session: Session) -> Iterator[Here]:
    """The ledger and its neighbours of the farm that the session's settings name. Raises Unavailable, with the
    address, when its Redis does not answer."""
    from farm.jobs.errors import Unavailable
    from farm.ledger import Ledger
    from farm.ledger.connection import connect
    from farm.tenants.tenants import Tenants
    from farm.tenants.vault import Vault
    from farm.webhooks.deliveries import Deliveries

    settings = session.farm_settings()
    with connect(settings.redis) as redis:
        try:
            yield Here(
                Ledger(redis, settings), Tenants(redis, settings), Vault(redis, settings), Deliveries(redis, settings)
            )
        except Unavailable as error:
            where = settings.redis.ledger_url.rpartition("@")[2]
            raise Unavailable(f"{error} ({where}); is the farm up? `wanfarm up`") from error
