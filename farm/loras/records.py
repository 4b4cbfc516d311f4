"""What is known of every tenant's LoRAs, in Redis: `{p}:loras` the tenants that ever had one, `{p}:loras:{tenant}` a
hash id -> JSON record. Knows no store."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import cast

from redis import Redis

from farm.config import RedisSettings
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys
from farm.loras.lora import StoredLora


class Records:
    """`redis` decodes responses. Every call may raise Unavailable. Threads may share one."""

    def __init__(self, redis: Redis, settings: RedisSettings) -> None:
        self._redis = redis
        self._keys = Keys(settings.prefix)

    def tenants(self) -> list[str]:
        """Those that ever had one, in order."""
        with mapped():
            return sorted(cast("set[str]", self._redis.smembers(self._keys("lora_tenants"))))

    def of(self, tenant: str) -> Sequence[StoredLora]:
        """The deleted ones, too, whose bytes are still there."""
        with mapped():
            raw = cast("dict[str, str]", self._redis.hgetall(self._key(tenant)))
        return list(_decoded(raw).values())

    def known(self, tenant: str, lora_id: str) -> bool:
        """Whether the tenant has a record of that id, deleted or not."""
        with mapped():
            return bool(self._redis.hexists(self._key(tenant), lora_id))

    def forget(self, tenant: str, *lora_ids: str) -> None:
        """Remove records for good."""
        with mapped():
            self._redis.hdel(self._key(tenant), *lora_ids)

    def change(self, tenant: str, change: Callable[[dict[str, StoredLora]], dict[str, StoredLora]]) -> list[StoredLora]:
        """Write what `change` makes of the tenant's records, unless they changed meanwhile: then ask it again."""
        made: dict[str, StoredLora] = {}

        def write(pipe: Redis) -> None:
            made.clear()
            made.update(change(_decoded(cast("dict[str, str]", pipe.hgetall(self._key(tenant))))))
            pipe.multi()  # type: ignore[attr-defined]
            pipe.sadd(self._keys("lora_tenants"), tenant)
            pipe.hset(self._key(tenant), mapping={one.id: json.dumps(asdict(one)) for one in made.values()})

        with mapped():
            self._redis.transaction(write, self._key(tenant))
        return list(made.values())

    def _key(self, tenant: str) -> str:
        return self._keys("loras", tenant)


def _decoded(raw: dict[str, str]) -> dict[str, StoredLora]:
    found = {}
    for lora_id, text in raw.items():
        values = json.loads(text)
        found[lora_id] = StoredLora(**{**values, "fits": tuple(values["fits"])})
    return found
