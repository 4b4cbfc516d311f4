"""Tenants: who may ask, and for what share of the farm.

In Redis: `{p}:tenants` the set of ids, `{p}:tenant:{id}` a hash whose `weight`, `max_open`,
`max_running*` and `rate_*` the ledger's scripts read.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from dataclasses import field as dataclass_field
from typing import Any, cast

from redis import Redis
from redis.client import Pipeline

from farm.config import Settings
from farm.jobs.errors import Conflict, InvalidRequest, NotFound
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys
from farm.ledger.operations import Actor, add_operation
from farm.ledger.scripts import Scripted
from farm.tenants.api_keys import ApiKeys
from farm.tenants.own_limits import GRANTED, POOL_CAP, POOL_NAME, OwnLimits
from models.provenance.signing import SigningPolicy

_TENANT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True)
class Tenant:
    """weight: share of GPU-seconds against other tenants. max_running: jobs that run at once, on all workers of the
    farm, and max_running_in of one pool. rate_per_minute, rate_burst: admissions (a token bucket). None: no limit.
    max_open: jobs not yet over at once. external: what may be bought elsewhere (never, same, family, any), once a job
    would wait longer than external_after_s, for so many dollars in a day and a month of UTC. provenance: whether its
    results are signed. None: as the settings say."""

    id: str
    name: str
    weight: float = 1.0
    max_open: int | None = None
    max_running: int | None = None
    max_running_in: Mapping[str, int] = dataclass_field(default_factory=dict)
    rate_per_minute: float | None = None
    rate_burst: int | None = None
    provenance: SigningPolicy | None = None
    external: str | None = None
    external_after_s: float | None = None
    external_day_usd: float | None = None
    external_month_usd: float | None = None
    created_ms: int = 0


class Tenants:
    """Tenants and, in `api_keys`, their keys; in `own_limits` what they lower themselves. What is done `by` somebody is
    a line of the log of operations, in the same write. `redis` decodes responses. Every call may raise Unavailable.
    Threads may share one."""

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        *,
        wall_s: Callable[[], float] = time.time,
        mono_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._keys = Keys(settings.redis.prefix)
        self._scripts = Scripted(redis, settings)
        self._wall_s = wall_s
        self.api_keys = ApiKeys(redis, settings, self._existing, wall_s=wall_s, mono_s=mono_s)
        self.own_limits = OwnLimits(redis, settings, wall_s=wall_s)

    def create(self, tenant_id: str, *, name: str | None = None, by: Actor | None = None, **limits: Any) -> Tenant:
        """Raises InvalidRequest on a bad id or limit, Conflict when the id is taken."""
        if not _TENANT.fullmatch(tenant_id):
            raise InvalidRequest("1 to 32 of a-z, 0-9 and -, not at the ends", "id")
        tenant = _checked(
            replace(Tenant(tenant_id, name or tenant_id, created_ms=int(self._wall_s() * 1000)), **_known(limits))
        )
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            pipe.sadd(self._all, tenant_id)
            for field, value in _stored(tenant).items():
                pipe.hsetnx(self._tenant(tenant_id), field, value)
            self._note(pipe, by, "tenant made", tenant_id, after=_limits_said(_stored(tenant)))
            added = pipe.execute()[0]
        if not added:
            raise Conflict(f"there is a tenant {tenant_id!r} already", "id")
        return tenant

    def get(self, tenant_id: str) -> Tenant | None:
        """The tenant; None when there is none."""
        if not _TENANT.fullmatch(tenant_id):
            return None
        with mapped():
            raw = cast("dict[str, str]", self._redis.hgetall(self._tenant(tenant_id)))
        return _loaded(raw) if raw.get("id") else None

    def list(self) -> Sequence[Tenant]:
        """All tenants, by id."""
        with mapped():
            ids = sorted(cast("set[str]", self._redis.smembers(self._all)))
        return [tenant for tenant_id in ids if (tenant := self.get(tenant_id))]

    def set(self, tenant_id: str, *, by: Actor | None = None, **changes: Any) -> Tenant:
        """Change name, limits or provenance; None removes one. A first request rate begins within gateway.key_cache_s.
        Raises NotFound, InvalidRequest."""
        for field in ("name", "weight"):
            if field in changes and changes[field] is None:
                raise InvalidRequest("it can be changed, but not removed", field)
        before = self._existing(tenant_id)
        stored = _stored(_checked(replace(before, **_known(changes))))
        # only what changes is written: somebody else may be changing the rest
        new: dict[Any, Any] = {field: stored[field] for field in changes if field in stored}
        gone = changes.keys() - new.keys()
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            if new:
                pipe.hset(self._tenant(tenant_id), mapping=new)
            if gone:
                pipe.hdel(self._tenant(tenant_id), *gone)
            if changes:
                pipe.hdel(self._tenant(tenant_id), *(GRANTED + field for field in changes))
            said = (_limits_said({field: raw.get(field) for field in changes}) for raw in (_stored(before), stored))
            self._note(pipe, by, "limits", tenant_id, before=next(said), after=next(said))
            pipe.hgetall(self._tenant(tenant_id))
            after = _loaded(pipe.execute()[-1])
        if "weight" in changes:
            self._scripts.run("reweigh", tenant_id)
        if "max_running" in changes:
            self._scripts.run("review", tenant_id)
        return after

    def cap_in_pool(self, tenant_id: str, pool: str, most: int | None, *, by: Actor | None = None) -> Tenant:
        """At most so many of its jobs are at work in the pool at once; None: any number. Raises NotFound,
        InvalidRequest."""
        before = self._existing(tenant_id).max_running_in.get(pool)
        if not POOL_NAME.fullmatch(pool):
            raise InvalidRequest("the name of a pool", "max_running_in")
        if most is not None and not 1 <= most <= 1e9:
            raise InvalidRequest("at least 1", "max_running_in")
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(self._tenant(tenant_id), GRANTED + POOL_CAP + pool)
            if most is None:
                pipe.hdel(self._tenant(tenant_id), POOL_CAP + pool)
            else:
                pipe.hset(self._tenant(tenant_id), POOL_CAP + pool, most)
            said = (_limits_said({POOL_CAP + pool: value}) for value in (before, most))
            self._note(pipe, by, "limits", tenant_id, before=next(said), after=next(said))
            pipe.execute()
        self._scripts.run("review", tenant_id)
        return self._existing(tenant_id)

    def _note(
        self, pipe: Pipeline, by: Actor | None, act: str, tenant_id: str, *, before: str = "", after: str = ""
    ) -> None:
        if by is not None:
            at_ms = int(1000 * self._wall_s())
            add_operation(
                pipe, self._keys, by, at_ms=at_ms, act=act, target=f"tenant {tenant_id}", before=before, after=after
            )

    def _existing(self, tenant_id: str) -> Tenant:
        tenant = self.get(tenant_id)
        if tenant is None:
            raise NotFound(f"no tenant {tenant_id!r}")
        return tenant

    @property
    def _all(self) -> str:
        return self._keys("tenants")

    def _tenant(self, tenant_id: str) -> str:
        return self._keys("tenant", tenant_id)


#: of a tenant's record: what may be bought for it
_EXTERNAL = ("external", "external_after_s", "external_day_usd", "external_month_usd")
_CONSENTS = ("never", "same", "family", "any")
#: of a record: what is no limit
_ABOUT = frozenset({"id", "name", "created_ms"})


def _limits_said(fields: Mapping[str, Any]) -> str:
    # what it is called is a text of the tenant's, and the log is for operators
    said = (f"{name}={'any' if value is None else value}" for name, value in fields.items() if name not in _ABOUT)
    return " ".join(said)


def _known(limits: Mapping[str, Any]) -> Mapping[str, Any]:
    allowed = {"name", "weight", "max_open", "max_running", "rate_per_minute", "rate_burst", "provenance"} | set(
        _EXTERNAL
    )
    if unknown := sorted(set(limits) - allowed):
        raise InvalidRequest(f"no such setting of a tenant; there are {', '.join(sorted(allowed))}", unknown[0])
    return limits


def _checked(tenant: Tenant) -> Tenant:
    if not 0.001 <= tenant.weight <= 1000:
        raise InvalidRequest("between 0.001 and 1000", "weight")
    for field in ("max_open", "max_running", "rate_per_minute", "rate_burst"):
        value = getattr(tenant, field)
        if value is not None and not 1 <= value <= 1e9:
            raise InvalidRequest("at least 1", field)
        if value is not None and field != "rate_per_minute" and value != int(value):
            raise InvalidRequest("a whole number", field)
    for field in _EXTERNAL[1:]:
        value = getattr(tenant, field)
        if value is not None and not 0 <= value <= 1e9:
            raise InvalidRequest("between 0 and a billion", field)
    if tenant.external not in (None, *_CONSENTS):
        raise InvalidRequest(f"one of {', '.join(_CONSENTS)}", "external")
    if tenant.provenance is not None and tenant.provenance not in set(SigningPolicy):
        raise InvalidRequest(f"one of {', '.join(SigningPolicy)}", "provenance")
    return tenant


def _stored(tenant: Tenant) -> dict[Any, Any]:
    plain = asdict(tenant)
    del plain["max_running_in"]
    return {field: str(value) for field, value in plain.items() if value is not None}


def _loaded(raw: Mapping[str, str]) -> Tenant:
    convert: dict[str, Callable[[str], Any]] = {
        "weight": float,
        "max_open": int,
        "max_running": int,
        "rate_per_minute": float,
        "rate_burst": int,
        "provenance": SigningPolicy,
        **dict.fromkeys(_EXTERNAL[1:], float),
        "created_ms": int,
    }
    # the ledger may keep fields of its own in the same hash
    ours = {field.name for field in fields(Tenant)}
    caps = {name.partition("|")[2]: int(most) for name, most in sorted(raw.items()) if name.startswith(POOL_CAP)}
    given = {name: convert.get(name, str)(value) for name, value in raw.items() if name in ours}
    return Tenant(**given, max_running_in=caps)
