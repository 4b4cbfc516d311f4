"""Settings of buying from providers when the farm's own GPUs are full, `[burst]`."""

from typing import Literal

from pydantic import Field

from farm.config.section import Section


class BurstSettings(Section):
    """Amounts are US dollars. A tenant's own record goes before what is said of tenants here."""

    #: buy nothing new; what was bought is followed to its end
    paused: bool = False
    #: decide, explain and log, and buy nothing
    dry_run: bool = False
    #: what may be bought for a tenant whose record does not say: never; same: the same weights; family: also what was
    #: made from them; any: also another model for the task
    external: Literal["never", "same", "family", "any"] = "never"
    #: a job is bought when it would start later than in so many seconds, or end after its deadline
    after_s: float = Field(default=600.0, ge=0)
    #: buying begins at after_s, and goes on until the wait is below this part of it
    until_share: float = Field(default=0.5, ge=0, le=1)
    #: jobs that a pool must have queued, and seconds that a job must have been queued
    least_depth: int = Field(default=2, ge=1)
    least_dwell_s: float = Field(default=10.0, ge=0)
    #: how often is decided, and purchases begun each time at most
    every_s: float = Field(default=2.0, gt=0)
    most_at_once: int = Field(default=20, ge=1)
    #: purchases of one job at most that come to nothing before it stays here
    tries: int = Field(default=2, ge=1)
    #: queued jobs of one tenant that are looked at
    looked_at: int = Field(default=200, ge=1)
    #: what may be held and spent in a day and in a month of UTC. None: no cap
    tenant_day_usd: float | None = Field(default=10.0, ge=0)
    tenant_month_usd: float | None = Field(default=100.0, ge=0)
    provider_day_usd: float | None = Field(default=None, ge=0)
    provider_month_usd: float | None = Field(default=None, ge=0)
    farm_day_usd: float | None = Field(default=50.0, ge=0)
    farm_month_usd: float | None = Field(default=500.0, ge=0)
    #: what an hour of waiting is worth: the price of a provider is compared with the time that it takes
    hour_usd: float = Field(default=0.10, ge=0)
    #: part of the purchases that go to another provider than the best, so that what is known of it stays true
    explore: float = Field(default=0.03, ge=0, le=1)
    #: a job of which nothing is known for this long since its submission is rendered here; its price stays held
    unknown_after_s: float = Field(default=900.0, gt=0)
    #: the same for one that a provider works at for longer than this
    longest_s: float = Field(default=7200.0, gt=0)
    #: a provider may not know a job for this long after it took it
    unread_s: float = Field(default=120.0, ge=0)
    #: purchases that go on when their job has left them are asked about this often
    left_every_s: float = Field(default=60.0, gt=0)
    #: accounts at providers are compared with what was bought this often
    balances_every_s: float = Field(default=300.0, gt=0)
    #: threads that talk to providers, and that fetch results
    threads: int = Field(default=8, ge=1)
    downloads: int = Field(default=2, ge=1)
    #: one result
    max_result_bytes: int = Field(default=500 * 1024**2, ge=1)
    result_s: float = Field(default=600.0, gt=0)
    #: networks in which results of providers may lie although they are not public, as intake.allow_networks
    allow_networks: tuple[str, ...] = ()
    #: the metrics of this process; 0: it serves none
    metrics_port: int = Field(default=0, ge=0, le=65535)
