"""Limits that a tenant sets itself: below what the operator grants it, and back up to that again.

In Redis, beside the limits of `{p}:tenant:{id}` that the ledger's scripts read: `granted|<limit>`, what the operator
had set where the tenant has lowered it ("" for no limit). Whatever the operator sets afterwards goes before both.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from redis import Redis
from redis.client import Pipeline

from farm.config import Settings
from farm.jobs.errors import Forbidden, InvalidRequest, NotFound
from farm.jobs.tenant_limits import TenantLimits
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys
from farm.ledger.operations import Actor, add_operation
from farm.ledger.scripts import Scripted

#: of a limit's name in the hash
GRANTED = "granted|"
POOL_CAP = "max_running|"
POOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_WHOLE = frozenset({"max_open", "max_running"})
LIMITS = ("max_open", "max_running", "rate_per_minute", "external_day_usd", "external_month_usd")


class OwnLimits:
    """`redis` decodes responses. Every call may raise Unavailable."""

    def __init__(self, redis: Redis, settings: Settings, *, wall_s: Callable[[], float] = time.time) -> None:
        self._redis, self._keys, self._wall_s = redis, Keys(settings.redis.prefix), wall_s
        self._scripts = Scripted(redis, settings)
        #: what holds for a tenant for whom the operator has set nothing
        self._farms: dict[str, float | None] = {
            "max_open": settings.scheduling.max_open,
            "external_day_usd": settings.burst.tenant_day_usd,
            "external_month_usd": settings.burst.tenant_month_usd,
        }

    def of(self, tenant: str) -> tuple[TenantLimits, TenantLimits]:
        """Those that hold, and those that the operator grants. Raises NotFound."""
        with mapped():
            record = cast("dict[str, str]", self._redis.hgetall(self._keys("tenant", tenant)))
        return self._both(tenant, record)

    def lower(
        self, tenant: str, changes: Mapping[str, float | None], pools: Mapping[str, int | None], *, by: Actor
    ) -> tuple[TenantLimits, TenantLimits]:
        """Set some of LIMITS, and caps of pools; None: what the operator grants. All of them or none. Raises Forbidden
        for more than that, InvalidRequest, NotFound."""
        wanted: dict[str, float | None] = {**changes, **{POOL_CAP + pool: most for pool, most in pools.items()}}
        for name, value in wanted.items():
            _check(name, value)

        def write(pipe: Pipeline) -> None:
            record = cast("dict[str, str]", pipe.hgetall(self._keys("tenant", tenant)))
            self._both(tenant, record)
            pipe.multi()
            for name, value in wanted.items():
                self._write(pipe, tenant, record, name, value)
            add_operation(
                pipe,
                self._keys,
                by,
                at_ms=int(1000 * self._wall_s()),
                act="limits",
                target=f"tenant {tenant}",
                before=_said(wanted, record),
                after=" ".join(
                    f"{name}={'granted' if value is None else _text(value)}" for name, value in wanted.items()
                ),
            )

        with mapped():
            self._redis.transaction(write, self._keys("tenant", tenant))
        if any(name.startswith("max_running") for name in wanted):
            self._scripts.run("review", tenant)
        return self.of(tenant)

    def _write(self, pipe: Pipeline, tenant: str, record: Mapping[str, str], name: str, value: float | None) -> None:
        key, kept = self._keys("tenant", tenant), GRANTED + name
        granted = record.get(kept, record.get(name, ""))
        if value is None:
            pipe.hdel(key, kept)
            if granted:
                pipe.hset(key, name, granted)
            else:
                pipe.hdel(key, name)
            return
        most = float(granted) if granted else self._farms.get(name)
        if most is not None and value > most:
            raise Forbidden(f"the operator grants {most:g}: it can be lowered, not raised", _named(name))
        pipe.hset(key, mapping={kept: granted, name: _text(value)})

    def _both(self, tenant: str, record: Mapping[str, str]) -> tuple[TenantLimits, TenantLimits]:
        if not record.get("id"):
            raise NotFound(f"no tenant {tenant!r}")
        granted = dict(record)
        for name, value in record.items():
            if name.startswith(GRANTED):
                granted[name.removeprefix(GRANTED)] = value
        return self._limits(record), self._limits(granted)

    def _limits(self, record: Mapping[str, str]) -> TenantLimits:
        values: dict[str, Any] = {}
        for name in LIMITS:
            text = record.get(name)
            value = float(text) if text else self._farms.get(name)
            values[name] = int(value) if value is not None and name in _WHOLE else value
        pools = {
            name.removeprefix(POOL_CAP): int(text)
            for name, text in record.items()
            if name.startswith(POOL_CAP) and text
        }
        return TenantLimits(**values, max_running_in=dict(sorted(pools.items())))


def _named(name: str) -> str:
    return "max_running_in" if name.startswith(POOL_CAP) else name


def _check(name: str, value: float | None) -> None:
    pool = name.removeprefix(POOL_CAP) if name.startswith(POOL_CAP) else None
    if pool is not None and not POOL_NAME.fullmatch(pool):
        raise InvalidRequest("the name of a pool", "max_running_in")
    if pool is None and name not in LIMITS:
        raise InvalidRequest(f"no such limit; there are {', '.join(LIMITS)}", name)
    least = 0 if name.startswith("external_") else 1
    if value is not None and not least <= value <= 1e9:
        raise InvalidRequest(f"at least {least}", _named(name))


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _said(wanted: Mapping[str, object], record: Mapping[str, str]) -> str:
    return " ".join(f"{name}={record.get(name) or 'any'}" for name in wanted)
