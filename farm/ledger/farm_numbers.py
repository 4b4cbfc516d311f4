"""The whole farm in numbers. What they cost follows pools, tenants and workers, not jobs, and no call keeps Redis busy
for long: what is read of each tenant is asked for some tenants at a time."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from farm.jobs.states import HoldReason, State
from farm.ledger.scripts import tier_line
from farm.ledger.share_numbers import ShareNumbers, ShareReading

#: tenants, or queues of one, that one script call looks at
_TENANTS_AT_ONCE = 100


class _Numbers(BaseModel):
    model_config = ConfigDict(frozen=True)

    @field_validator("pools", mode="before", check_fields=False)
    @classmethod
    def _list(cls, value: object) -> object:
        # Lua writes its empty table as an object
        return value or []


class PoolNumbers(_Numbers):
    """slots: jobs that its live workers take at once, without the locked ones. queued: could be claimed now; queued_s:
    GPU-seconds that they are predicted to take. delayed: wait for a retry. held: wait for a reason to go. leases: run;
    open_s: GPU-seconds predicted for them. paused: an operator lets nothing start. oldest_ms: since when the job waits
    that has waited longest; only of the whole farm. workers: live ones by state (farm.jobs.worker_status)."""

    pool: str
    slots: int
    queued: int
    queued_s: float
    open_s: float
    delayed: int
    held: int
    leases: int
    permits: int
    workers: dict[str, int]
    paused: bool = False
    oldest_ms: int | None = None


class TenantNumbers(_Numbers):
    """balance, hold, spent: micro-credits; balance is None without an account. rate_remaining: requests that may come
    now; None: no limit. open_limit: jobs that may be open at once."""

    tenant: str
    weight: float
    open_limit: int
    jobs: dict[State, int]
    held_for: dict[HoldReason, int]
    balance: int | None = None
    hold: int = 0
    spent: int = 0
    rate_burst: int | None = None
    rate_remaining: int | None = None

    @property
    def open(self) -> int:
        """Jobs that are not over."""
        return self.jobs[State.WAITING] + self.jobs[State.QUEUED] + self.jobs[State.RUNNING]


class BatchNumbers(_Numbers):
    """Batches that are asked for by a file and not looked at, staged or placed (coming), admitted with open jobs; acts
    that are under way; jobs of open batches by state."""

    asked: int = 0
    coming: int = 0
    open: int = 0
    acts: int = 0
    jobs: dict[State, int] = Field(default_factory=dict)


class QueueNumbers(_Numbers):
    """Pools as of now_ms, and right after that tenants at them. drift: counter -> how many the audits found wrong.
    outbox: endings whose callback is not scheduled yet."""

    now_ms: int
    pools: list[PoolNumbers]
    shares: list[ShareNumbers]
    drift: dict[str, int] = Field(default_factory=dict)
    batches: BatchNumbers = BatchNumbers()
    outbox: int = 0
    reaped_s_ago: float | None = None
    audited_s_ago: float | None = None


class FarmNumbers(QueueNumbers):
    """`tenants` and the oldest job of each pool are read right after the rest, so a job that moves meanwhile may be
    seen in two places or in none."""

    tenants: list[TenantNumbers]


_TENANTS = TypeAdapter(list[TenantNumbers])


class FarmNumbersReading(ShareReading):
    """What the exporter and the console show of the whole farm."""

    def queue_numbers(self) -> QueueNumbers:
        """Pools and queues. Raises Unavailable."""
        return self._queues(json.loads(self.run("farm_numbers")))

    def _queues(self, told: dict[str, Any]) -> QueueNumbers:
        shares = self.shares(one["pool"] for one in told["pools"])
        for pool in told["pools"]:
            here = [one for one in shares if one.pool == pool["pool"]]
            pool["queued"], pool["open_s"] = sum(one.queued for one in here), sum(one.open_s for one in here)
        return QueueNumbers.model_validate(told | {"shares": shares})

    def farm_numbers(self) -> FarmNumbers:
        """The whole farm. Raises Unavailable."""
        told = json.loads(self.run("farm_numbers"))
        queues = self._queues(told)
        owners, tenants = list(told["owners"] or ()), list[TenantNumbers]()
        for at in range(0, len(owners), _TENANTS_AT_ONCE):
            tenants += _TENANTS.validate_json(self.run("tenant_numbers", *owners[at : at + _TENANTS_AT_ONCE]))
        oldest: dict[str, int] = {}
        for pool, since_ms in self._oldest(queues.shares):
            oldest[pool] = min(since_ms, oldest.get(pool, since_ms))
        pools = [one.model_copy(update={"oldest_ms": oldest.get(one.pool)}) for one in queues.pools]
        return FarmNumbers(**dict(queues) | {"pools": pools, "tenants": tenants})

    def _oldest(self, shares: Sequence[ShareNumbers]) -> Iterator[tuple[str, int]]:
        """(pool, since when the job waits, ms, that has waited longest) of each queue."""
        queues = [(one, tier) for one in shares for tier in one.ahead_s]
        for at in range(0, len(queues), _TENANTS_AT_ONCE):
            some = queues[at : at + _TENANTS_AT_ONCE]
            names = [name for one, tier in some for name in (tier_line(one.pool, tier), one.tenant)]
            for (one, _), since_ms in zip(some, self.run("oldest_queued", *names), strict=True):
                if since_ms is not None:
                    yield one.pool, int(since_ms)
