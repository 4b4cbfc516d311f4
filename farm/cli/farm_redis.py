"""The farm's tenants, for the commands that run beside it: through its Redis, not over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from farm.cli.session import Session

if TYPE_CHECKING:
    from farm.tenants import Tenants


@contextmanager
def farm_tenants(session: Session) -> "Iterator[Tenants]":
    from redis import Redis

    from farm.jobs.errors import Unavailable
    from farm.tenants import Tenants

    settings = session.farm_settings()
    redis = settings.redis
    with Redis.from_url(
        redis.ledger_url,
        decode_responses=True,
        socket_timeout=redis.socket_timeout_s,
        socket_connect_timeout=redis.connect_timeout_s,
    ) as client:
        try:
            yield Tenants(client, settings)
        except Unavailable as error:
            where = redis.ledger_url.rpartition("@")[2]
            raise Unavailable(f"{error} ({where}); is the farm up? `wanfarm up`") from error
