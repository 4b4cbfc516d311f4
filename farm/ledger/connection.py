"""The connection to the ledger's Redis, and the one place where errors of Redis become the farm's own."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.connection import SSLConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

from farm.config import RedisSettings
from farm.jobs.errors import Unavailable

#: what a ledger_url says of a server whose address the Sentinels know
_OF_A_SERVER = frozenset({"username", "password", "db"})
#: an idle connection is checked before use when it has been silent this long: twice as long as a worker is silent
HEALTH_CHECK_S = 30
#: a connection that only listens is checked so seldom: heartbeats hear what it does not (farm.ledger.notices), and the
#: operating system notices a machine that is gone, KEEPALIVE being what it asks and how often, in s, of an idle one
LISTENING_CHECK_S = 120
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
#: answers of a server that is there but cannot write now: full, loading, read-only after a failover, disk error
_PASSING = re.compile(
    r"\b(OOM|LOADING|BUSY|READONLY|MISCONF|MASTERDOWN|NOREPLICAS|UNBLOCKED|TRYAGAIN|CLUSTERDOWN)\b"
    r"|max number of clients"
)

#: what it says when a write would go over its maxmemory, also through a script
_FULL = re.compile(r"\bOOM\b|used memory > 'maxmemory'")


class PrimaryConnection(SentinelManagedConnection):
    """Connects to the primary that the Sentinels name. A connection on which an answer did not come in time is closed,
    as every other connection is: redis-py keeps it here, and the late answer would be taken for that of the next
    call."""

    def read_response(self, *args: Any, disconnect_on_error: bool | None = True, **more: Any) -> Any:
        """As redis-py's, with the default of its other connections."""
        return super().read_response(*args, disconnect_on_error=disconnect_on_error, **more)


class PrimarySSLConnection(PrimaryConnection, SSLConnection):
    """The same as PrimaryConnection, over TLS."""


def connect(settings: RedisSettings) -> Redis:
    """A client for the Ledger; threads may share it. Connects at the first call.

    A call on a connection that turns out to be broken is sent again at once, which every script of the ledger
    stands; one that timed out is not, because a caller at the gateway would wait for several timeouts.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": settings.socket_timeout_s,
        "socket_connect_timeout": settings.connect_timeout_s,
        "socket_keepalive": True,
        "socket_keepalive_options": {getattr(socket, name): value for name, value in KEEPALIVE.items()},
        "health_check_interval": HEALTH_CHECK_S,
        "retry": Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.02), 2, supported_errors=(RedisConnectionError,)),
        "client_name": "wanfarm-ledger",
        **tls_options(settings, settings.ledger_url),
    }
    if not settings.sentinels:
        return Redis.from_url(settings.ledger_url, **options)
    known = {name: value for name, value in parse_url(settings.ledger_url).items() if name in _OF_A_SERVER}
    pool = SentinelConnectionPool(
        settings.service,
        Sentinel(sentinel_addresses(settings), sentinel_kwargs=sentinel_options(settings, settings.ledger_url)),
        connection_class=PrimarySSLConnection if uses_tls(settings.ledger_url) else PrimaryConnection,
        **known,
        **options,
    )
    return Redis(connection_pool=pool)


def uses_tls(url: str) -> bool:
    """Whether a Redis URL asks for TLS."""
    return url.startswith("rediss://")


def tls_options(settings: RedisSettings, url: str) -> dict[str, Any]:
    """TLS arguments of a connection to `url`: the server's certificate is always checked."""
    if not uses_tls(url):
        return {}
    return {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": None if settings.ca_file is None else str(settings.ca_file),
    }


def sentinel_addresses(settings: RedisSettings) -> list[tuple[str, int]]:
    """(host, port) of each Sentinel of the settings, in their order."""
    parts = (address.rpartition(":") for address in settings.sentinels)
    return [(host.strip("[]"), int(port)) for host, _, port in parts]


def sentinel_options(settings: RedisSettings, url: str) -> dict[str, Any]:
    """Arguments of connections to the Sentinels themselves: TLS where the server at `url` has it."""
    tls = {"ssl": True, **tls_options(settings, url)} if uses_tls(url) else {}
    return {
        "username": settings.sentinel_user,
        "password": settings.sentinel_password,
        # one that does not answer is passed over for the next
        "socket_timeout": min(1.0, settings.socket_timeout_s),
        "socket_connect_timeout": min(1.0, settings.connect_timeout_s),
        "socket_keepalive": True,
        **tls,
    }


@contextmanager
def mapped() -> Iterator[None]:
    """Errors of Redis that pass by themselves become Unavailable; a mistake of ours stays what it is."""
    try:
        yield
    except ResponseError as error:
        if isinstance(error, OutOfMemoryError) or _FULL.search(str(error)):
            raise Unavailable("the ledger's memory is full: nothing new is taken until there is room", 30.0) from error
        # Redis 6 answers for a whole script, with the reason within; Redis 7 with the reason itself
        if isinstance(error, ReadOnlyError) or _PASSING.search(str(error)):
            raise Unavailable(f"the ledger cannot write now: {str(error)[:200]}") from error
        raise
    except (RedisError, OSError) as error:
        raise Unavailable(f"the ledger does not answer ({type(error).__name__})") from error


def stream_entries(answer: Any) -> list[tuple[str, dict[str, str]]]:
    """(id, fields) of what XREAD or XREADGROUP answered for one stream, in the shape of either protocol of Redis."""
    if isinstance(answer, dict):
        return [(entry_id, fields) for lists in answer.values() for entries in lists for entry_id, fields in entries]
    return [(entry_id, fields) for _, entries in answer or () for entry_id, fields in entries]
