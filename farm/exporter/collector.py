"""The farm's numbers as families of samples, read anew at each scrape."""

import shutil
import time
from collections.abc import Iterable, Iterator
from typing import Any, cast

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from redis import Redis

from farm.config import Settings
from farm.exporter.families import each, single
from farm.exporter.purchases import purchases
from farm.jobs.errors import FarmError
from farm.jobs.money import MICRO
from farm.jobs.states import HoldReason, State
from farm.ledger import INTAKE_POOL, Ledger
from farm.ledger.connection import mapped
from farm.ledger.farm_numbers import FarmNumbers, PoolNumbers, TenantNumbers
from farm.ledger.keys import Keys
from farm.ledger.share_numbers import ShareNumbers
from farm.providers import Providers
from farm.providers.gate import SHORTAGES, Gate
from farm.scheduling.expected_wait import entitlements, expected_wait_s
from farm.webhooks.deliveries import Backlog, Deliveries
from monitoring import farm_metrics as metrics
from monitoring.read_metrics import Family, ReadMetric


class FarmCollector(Collector):
    """While the ledger does not answer only that is shown, so that alerts on absence see it."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis, self._settings = redis, settings
        self._ledger, self._deliveries = Ledger(redis, settings), Deliveries(redis, settings)
        self._gate = Gate(redis, settings, Providers(settings).entries)
        self._stored_key = Keys(settings.redis.prefix)("stored")

    def collect(self) -> Iterable[Metric]:
        """Read the ledger and make the families of one scrape."""
        began = time.perf_counter()
        try:
            farm = self._ledger.farm_numbers()
            backlog = self._deliveries.backlog([one.tenant for one in farm.tenants])
            sellers = self._gate.states()
            memory, stored = self._server()
            bought = list(purchases(self._ledger, self._settings))
        except FarmError:
            yield single(metrics.EXPORTER_UP, 0)
            return
        yield single(metrics.EXPORTER_UP, 1)
        yield single(metrics.SCRAPE_SECONDS, time.perf_counter() - began)
        yield from whole_farm(farm)
        yield from pools(farm)
        yield from shares(farm.shares, {one.tenant: one.weight for one in farm.tenants})
        yield from tenants(farm.tenants)
        yield from webhooks(farm, backlog)
        yield each(
            metrics.PROVIDER_PARKED,
            {(one.name, why): int(one.shortage is why) for one in sellers for why in sorted(SHORTAGES)},
        )
        yield from bought
        yield each(metrics.STORED_BYTES, {(tenant,): max(0, int(size)) for tenant, size in stored.items()})
        yield single(metrics.LEDGER_MEMORY, memory["used_memory"])
        yield single(metrics.LEDGER_MEMORY_LIMIT, memory["maxmemory"])
        yield single(metrics.DISK_FREE, shutil.disk_usage(self._settings.state_dir).free)

    def _server(self) -> tuple[dict[str, Any], dict[str, str]]:
        with mapped(), self._redis.pipeline(transaction=False) as pipe:
            pipe.info("memory")
            pipe.hgetall(self._stored_key)
            memory, stored = pipe.execute()
        return cast("dict[str, Any]", memory), cast("dict[str, str]", stored)


def whole_farm(farm: FarmNumbers) -> Iterator[Family]:
    """Sums over all tenants, and who keeps the house."""
    yield each(metrics.JOBS, {(state,): sum(one.jobs[state] for one in farm.tenants) for state in State})
    yield each(
        metrics.HELD_JOBS, {(reason,): sum(one.held_for[reason] for one in farm.tenants) for reason in HoldReason}
    )
    for metric, age_s in ((metrics.REAP_AGE, farm.reaped_s_ago), (metrics.AUDIT_AGE, farm.audited_s_ago)):
        if age_s is not None:
            yield single(metric, age_s)
    batches = farm.batches
    stages = {"asked": batches.asked, "coming": batches.coming, "open": batches.open}
    yield each(metrics.BATCHES, {(stage,): count for stage, count in stages.items()})
    yield each(metrics.BATCH_JOBS, {(state,): batches.jobs.get(state, 0) for state in State})
    yield single(metrics.BATCH_ACTS, batches.acts)
    yield each(metrics.AUDIT_DRIFT, {(counter,): found for counter, found in farm.drift.items()})


def pools(farm: FarmNumbers) -> Iterator[Family]:
    """What stands in each pool, and who works there."""

    def family(metric: ReadMetric, value: Any) -> Family:
        values = {(one.pool,): value(one) for one in farm.pools}
        return each(metric, {labels: number for labels, number in values.items() if number is not None})

    def oldest_s(pool: PoolNumbers) -> float:
        return 0.0 if pool.oldest_ms is None else (farm.now_ms - pool.oldest_ms) / 1000

    def wait_s(pool: PoolNumbers) -> float | None:
        # intake takes moments that nobody predicts
        return None if pool.pool == INTAKE_POOL else expected_wait_s(pool.queued_s, pool.open_s, pool.slots)

    yield family(metrics.QUEUED, lambda one: one.queued)
    yield family(metrics.QUEUED_SECONDS, lambda one: one.queued_s)
    yield family(metrics.OLDEST_SECONDS, oldest_s)
    yield family(metrics.WAIT_SECONDS, wait_s)
    yield family(metrics.DELAYED, lambda one: one.delayed)
    yield family(metrics.POOL_HELD, lambda one: one.held)
    yield family(metrics.LEASES, lambda one: one.leases)
    yield family(metrics.PERMITS_OPEN, lambda one: one.permits)
    yield family(metrics.SLOTS, lambda one: one.slots)
    yield family(metrics.PAUSED, lambda one: int(one.paused))
    workers: dict[tuple[str, ...], float] = {
        (one.pool, state): count for one in farm.pools for state, count in one.workers.items()
    }
    # a pool whose last quarantined worker went well again has none, which is a number
    quarantined: dict[tuple[str, ...], float] = {
        (one.pool, "quarantined"): one.workers.get("quarantined", 0) for one in farm.pools
    }
    yield each(metrics.WORKERS, workers | quarantined)


def shares(told: list[ShareNumbers], weights: dict[str, float]) -> Iterator[Family]:
    """What each tenant got of a pool, and what it is entitled to while it and others want it."""
    yield each(metrics.GPU_SECONDS, {(one.pool, one.tenant): one.used_s for one in told})
    yield each(metrics.TENANT_QUEUED, {(one.pool, one.tenant): one.queued for one in told})
    yield each(
        metrics.AHEAD_SECONDS,
        {(one.pool, tier, one.tenant): ahead_s for one in told for tier, ahead_s in one.ahead_s.items()},
    )
    entitled: dict[tuple[str, ...], float] = {}
    for pool in {one.pool for one in told} - {INTAKE_POOL}:
        wanting = [one.tenant for one in told if one.pool == pool and (one.queued or one.open_s)]
        parts = entitlements({tenant: weights.get(tenant, 1.0) for tenant in wanting})
        entitled |= {(pool, tenant): part for tenant, part in parts.items()}
    yield each(metrics.ENTITLEMENT, entitled)


def tenants(told: list[TenantNumbers]) -> Iterator[Family]:
    """Each tenant's jobs, credit and limits."""
    yield each(metrics.TENANT_JOBS, {(one.tenant, state): one.jobs[state] for one in told for state in State})
    yield each(metrics.TENANT_OPEN_LIMIT, {(one.tenant,): one.open_limit for one in told})
    paying = [one for one in told if one.balance is not None]
    yield each(metrics.BALANCE, {(one.tenant,): (one.balance or 0) / MICRO for one in paying})
    yield each(metrics.HOLDS, {(one.tenant,): one.hold / MICRO for one in paying})
    yield each(metrics.SPENT, {(one.tenant,): one.spent / MICRO for one in paying})
    limited = [one for one in told if one.rate_burst is not None]
    yield each(metrics.RATE_REMAINING, {(one.tenant,): one.rate_remaining or 0 for one in limited})
    yield each(metrics.RATE_BURST, {(one.tenant,): one.rate_burst or 0 for one in limited})


def webhooks(farm: FarmNumbers, backlog: Backlog) -> Iterator[Family]:
    """From the outbox to receivers."""
    yield single(metrics.OUTBOX, farm.outbox)
    yield single(metrics.WEBHOOKS_PENDING, backlog.pending)
    yield single(metrics.WEBHOOKS_LATE, backlog.due_s)
    yield single(metrics.WEBHOOKS_DEAD, backlog.dead)
