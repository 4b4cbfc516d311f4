"""The whole farm in numbers, as of one moment: one script, whose cost follows pools, tenants and workers, not jobs."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from farm.jobs.states import HoldReason, State, Tier
from farm.ledger.scripts import Scripted


class _Numbers(BaseModel):
    model_config = ConfigDict(frozen=True)

    @field_validator("pools", "shares", "tenants", mode="before", check_fields=False)
    @classmethod
    def _list(cls, value: object) -> object:
        # Lua writes its empty table as an object
        return value or []


class PoolNumbers(_Numbers):
    """slots: jobs that its live workers take at once. queued: could be claimed now; queued_s: GPU-seconds that they are
    predicted to take. delayed: wait for a retry. held: wait for a reason to go. leases: run; open_s: GPU-seconds
    predicted for them. paused: an operator lets nothing start. oldest_ms: since when the job waits that has waited
    longest. workers: live ones by state (farm.jobs.worker_status.WorkerState)."""

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


class ShareNumbers(_Numbers):
    """A tenant at a pool. ahead_s: tier in which it has queued jobs -> its virtual time against the tier's clock; of
    a tier's tenants the one with the least is served next. used_s: GPU-seconds of attempts that ended."""

    pool: str
    tenant: str
    queued: int
    open_s: float = 0.0
    used_s: float = 0.0
    ahead_s: dict[Tier, float] = Field(default_factory=dict)


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


class FarmNumbers(_Numbers):
    """drift: counter -> how many the audits found wrong. outbox: endings whose callback is not scheduled yet."""

    now_ms: int
    pools: list[PoolNumbers]
    shares: list[ShareNumbers]
    tenants: list[TenantNumbers]
    drift: dict[str, int] = Field(default_factory=dict)
    batches: BatchNumbers = BatchNumbers()
    outbox: int = 0
    reaped_s_ago: float | None = None
    audited_s_ago: float | None = None


class FarmNumbersReading(Scripted):
    def farm_numbers(self) -> FarmNumbers:
        """The whole farm as of one moment. Raises Unavailable."""
        return FarmNumbers.model_validate_json(self.run("farm_numbers"))
