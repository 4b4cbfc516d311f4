"""Whether a part serves now. Each question takes a second at most and has no answer but yes or no."""

from collections.abc import Callable

import httpx
from redis import Redis
from redis.exceptions import RedisError

from farm.config import RedisSettings, Settings
from farm.jobs.errors import FarmError
from farm.ledger import Ledger
from farm.store import Store

_ANSWER_S = 1.0


def redis_answers(settings: RedisSettings) -> Callable[[], bool]:
    """PING. A Redis that still loads its append-only file listens already, and answers LOADING until it is through."""
    client = Redis.from_url(settings.ledger_url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S)

    def ready() -> bool:
        try:
            return bool(client.ping())
        except RedisError:
            return False
        finally:
            # a connection kept over a restart of the server would only spoil the next question
            client.connection_pool.disconnect()

    return ready


def bucket_there(settings: Settings) -> Callable[[], bool]:
    """The S3 server answers with our keys, and the bucket exists (it is made when it does not)."""
    store = Store(settings.s3)

    def ready() -> bool:
        if store.ready():
            return True
        try:
            store.ensure_bucket()
        except FarmError:
            return False
        return store.ready()

    return ready


def gateway_ready(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            return httpx.get(f"{url}/v1/health/ready", timeout=_ANSWER_S, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    return ready


def live_workers(settings: Settings) -> Callable[[], bool]:
    """At least one agent has told the ledger that it is there."""
    redis = Redis.from_url(
        settings.redis.ledger_url,
        decode_responses=True,
        socket_timeout=_ANSWER_S,
        socket_connect_timeout=_ANSWER_S,
    )
    ledger = Ledger(redis, settings)

    def ready() -> bool:
        try:
            return bool(ledger.workers())
        except FarmError:
            return False

    return ready
