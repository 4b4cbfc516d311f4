"""Where Celery's broker is: a server at an address, or the primary that Sentinels name; TLS where the URL says so."""

from typing import Any
from urllib.parse import urlsplit

from kombu.transport.redis import SentinelChannel

from farm.config import RedisSettings
from farm.ledger.connection import (
    PrimaryConnection,
    PrimarySSLConnection,
    sentinel_addresses,
    sentinel_options,
    tls_options,
    uses_tls,
)

# what is said of them there holds for the broker, too
SentinelChannel.connection_class = PrimaryConnection
SentinelChannel.connection_class_ssl = PrimarySSLConnection


def broker_url(settings: RedisSettings) -> str:
    """As Celery takes it. Of Sentinels, each with the user, password and database of redis.broker_url."""
    if not settings.sentinels:
        # what tls_options says is said by broker_use_ssl
        return settings.broker_url
    own = urlsplit(settings.broker_url)
    account, found, _ = own.netloc.rpartition("@")
    hosts = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in sentinel_addresses(settings))
    return ";".join(f"sentinel://{account}{found}{host}{own.path}" for host in hosts)


def broker_options(settings: RedisSettings) -> dict[str, Any]:
    """What broker_transport_options need besides, for Sentinels."""
    if not settings.sentinels:
        return {}
    return {
        "master_name": settings.broker_service or settings.service,
        "sentinel_kwargs": sentinel_options(settings, settings.broker_url),
    }


def broker_tls(settings: RedisSettings) -> dict[str, Any] | None:
    """As broker_use_ssl; None without TLS."""
    return tls_options(settings, settings.broker_url) if uses_tls(settings.broker_url) else None
