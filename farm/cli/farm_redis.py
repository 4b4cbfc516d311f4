"""The farm's tenants, for the commands that run beside it: through its Redis, not over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from farm.cli.session import Session

if TYPE_CHECKING:
    from farm.tenants.tenants import Tenants


@contextmanager
def farm_tenants(session: Session) -> "Iterator[Tenants]":
    """The tenants of the farm that the session's settings name. Raises Unavailable, with the address, when its Redis
    does not answer."""
    from farm.jobs.errors import Unavailable
    from farm.ledger.connection import connect
    from farm.tenants.tenants import Tenants

    settings = session.farm_settings()
    with connect(settings.redis) as redis:
        try:
            yield Tenants(redis, settings)
        except Unavailable as error:
            where = settings.redis.ledger_url.rpartition("@")[2]
            raise Unavailable(f"{error} ({where}); is the farm up? `wanfarm up`") from error
