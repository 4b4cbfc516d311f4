"""Tenants at each pool in numbers: what they have queued, were charged and used, and whose turn comes. What it costs
follows tenants, in many short calls; so what moves meanwhile may be counted in two places or in none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from pydantic import BaseModel, ConfigDict, Field

from farm.jobs.states import Tier
from farm.ledger.connection import mapped
from farm.ledger.scripts import Scripted, pool_of_line, tier_line

#: queues that one script call looks at
_QUEUES_AT_ONCE = 500


class ShareNumbers(BaseModel):
    """A tenant at a pool. ahead_s: tier in which it has queued jobs -> its virtual time against the tier's clock; of
    a tier's tenants the one with the least is served next. used_s: GPU-seconds of attempts that ended. weight: None
    where it has none queued."""

    model_config = ConfigDict(frozen=True)

    pool: str
    tenant: str
    queued: int
    open_s: float = 0.0
    used_s: float = 0.0
    weight: float | None = None
    ahead_s: dict[Tier, float] = Field(default_factory=dict)


@dataclass(frozen=True)
class AsideNumbers:
    """A tenant that does not get its turn at a pool: an operator paused it, or its running jobs are at a cap. queued:
    its jobs there, which no other number counts."""

    pool: str
    tenant: str
    queued: int


@dataclass
class _AtPool:
    queued: int = 0
    open_s: float = 0.0
    used_s: float = 0.0
    weight: float | None = None
    ahead_s: dict[Tier, float] = field(default_factory=dict)


class ShareReading(Scripted):
    """Tenants in the lines of pools."""

    def shares(self, pools: Iterable[str]) -> list[ShareNumbers]:
        """Every tenant that has something at one of these pools, or had. Raises Unavailable."""
        return [
            ShareNumbers(pool=pool, tenant=tenant, **vars(sums))
            for pool in pools
            for tenant, sums in self._sums(pool).items()
        ]

    def set_aside(self) -> list[AsideNumbers]:
        """Every tenant that does not get its turn, with jobs that wait for it. Raises Unavailable."""
        with mapped(), self._redis.pipeline(transaction=False) as pipe:
            tenants = sorted(cast("set[str]", self._redis.smembers(self._keys("set_aside"))))
            for tenant in tenants:
                pipe.smembers(self._keys("aside", tenant))
            lines = cast("list[set[str]]", pipe.execute())
        kept: dict[str, list[str]] = {}
        for tenant, some in zip(tenants, lines, strict=True):
            for line in some:
                kept.setdefault(line, []).append(tenant)
        found: dict[tuple[str, str], int] = {}
        for line, those in sorted(kept.items()):
            for tenant, queued in zip(those, self._queued(line, those), strict=True):
                at = pool_of_line(line), tenant
                found[at] = found.get(at, 0) + queued
        return [AsideNumbers(pool, tenant, queued) for (pool, tenant), queued in found.items() if queued]

    def _sums(self, pool: str) -> dict[str, _AtPool]:
        found: dict[str, _AtPool] = {}
        for tier in Tier:
            line = tier_line(pool, tier)
            # what is in it: lua/lib/fair.lua
            with mapped(), self._redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(self._keys("share", line))
                pipe.zrange(self._keys("fair", line), 0, -1, withscores=True)
                kept, standing = pipe.execute()
            for name, value in kept.items():
                tenant, _, what = name.partition("|")
                if tenant and what == "open":
                    found.setdefault(tenant, _AtPool()).open_s += float(value)
                elif tenant and what == "used":
                    found.setdefault(tenant, _AtPool()).used_s += float(value)
            clock = float(kept.get("|clock", 0.0))
            sizes = self._queued(line, [tenant for tenant, _ in standing])
            for (tenant, time), queued in zip(standing, sizes, strict=True):
                if queued:
                    own = found.setdefault(tenant, _AtPool())
                    own.queued += queued
                    own.ahead_s[tier] = time - clock
                    own.weight = float(kept.get(f"{tenant}|weight", 1.0))
        return found

    def _queued(self, line: str, tenants: Sequence[str]) -> list[int]:
        sizes = list[int]()
        for at in range(0, len(tenants), _QUEUES_AT_ONCE):
            sizes += self.run("queued", line, *tenants[at : at + _QUEUES_AT_ONCE])
        return sizes
