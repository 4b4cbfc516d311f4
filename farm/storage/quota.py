"""What a tenant may store, and what the disk must keep free: asked before bytes are taken.

A count goes up as objects come and is set anew whenever the whole bucket was looked through; an upload's address keeps
room for its bytes until it has expired.
"""

import math
import shutil
import time
from pathlib import Path
from typing import Any, cast

from redis import Redis

from farm.config import Settings
from farm.jobs.errors import Forbidden, Unavailable
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys
from farm.ledger.refusals import no_room
from farm.ledger.scripts import Scripted
from farm.storage.store import Store

#: an upload's room is kept so long after its address has expired: a slow PUT may still be under way
_ROOM_SLACK_S = 3600.0
#: how long the disk's free space is believed
_TRUST_S = 1.0
_FULL_RETRY_S = 60.0
#: what counts: not LoRAs, which have limits of their own
_COUNTED = ("inputs/", "uploads/", "results/")
_PAGE = 1000


class Quota:
    """`redis` decodes responses. Every call may raise Unavailable. Threads may share one."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._scripts = Scripted(redis, settings)
        self._keys = Keys(settings.redis.prefix)
        self._most = settings.storage.max_bytes_per_tenant
        self._floor = settings.storage.min_free_bytes
        self._disk = settings.state_dir
        self._free: tuple[float, int] = (float("-inf"), 0)

    def check(self, tenant: str, size: int = 0) -> None:
        """Raises Forbidden when the tenant may not store `size` bytes more, Unavailable when the disk may not."""
        self.check_disk()
        used = self.used(tenant)
        if used + size > self._most:
            raise no_room(used, self._most)

    def check_disk(self) -> None:
        """Raises Unavailable with the reason when the farm's disk is as full as it may be."""
        if reason := self.shortage():
            raise Unavailable(f"the farm takes nothing new: {reason}", _FULL_RETRY_S)

    def shortage(self) -> str | None:
        """Why nothing new is stored; None while there is room."""
        asked, free = self._free
        if time.monotonic() - asked > _TRUST_S:
            free = shutil.disk_usage(_existing(self._disk)).free
            self._free = (time.monotonic(), free)
        if free >= self._floor:
            return None
        return f"its disk has {free // 10**6} MB free, and {self._floor // 10**6} MB are kept (storage.min_free_bytes)"

    def used(self, tenant: str) -> int:
        """Bytes stored, and those that addresses were given out for."""
        return int(self._scripts.run("stored", tenant))

    def stored_by_tenant(self) -> dict[str, int]:
        """Tenant -> bytes stored."""
        with mapped():
            found = cast("dict[str, str]", self._redis.hgetall(self._stored))
        return {tenant: max(0, int(size)) for tenant, size in found.items()}

    def add(self, tenant: str, size: int) -> None:
        """`size` bytes were stored."""
        with mapped():
            self._redis.hincrby(self._stored, tenant, size)

    def room(self, tenant: str, size: int, seconds: float) -> None:
        """Keep room for an upload of `size` bytes whose address lives for `seconds`; it counts up to a minute longer.
        Raises as check does."""
        self.check(tenant, size)
        key, life_s, now_s = self._rooms(tenant), seconds + _ROOM_SLACK_S, time.time()
        minute = math.ceil((now_s + life_s) / 60)
        with mapped():
            known = cast("list[str]", self._redis.hkeys(key))
        over = [one for one in known if 60 * int(one) <= now_s]
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            if over:
                pipe.hdel(key, *over)
            pipe.hincrby(key, str(minute), size)
            pipe.expire(key, int(life_s) + 120)
            pipe.execute()
        try:
            # two that came at once both see both
            self.check(tenant)
        except Forbidden:
            with mapped():
                self._redis.hincrby(key, str(minute), -size)
            raise

    def measure(self, store: Store) -> dict[str, int]:
        """Look through the whole bucket and set every tenant's count to what is there."""
        totals: dict[str, int] = {}
        for prefix in _COUNTED:
            after = None
            while True:
                found = store.list(prefix, after=after, limit=_PAGE)
                for one in found:
                    tenant = one.key.split("/", 2)[1]
                    totals[tenant] = totals.get(tenant, 0) + one.size
                if len(found) < _PAGE:
                    break
                after = found[-1].key
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self._stored)
            if totals:
                pipe.hset(self._stored, mapping=cast("dict[Any, Any]", totals))
            pipe.execute()
        return totals

    @property
    def _stored(self) -> str:
        return self._keys("stored")

    def _rooms(self, tenant: str) -> str:
        return self._keys("rooms", tenant)


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
