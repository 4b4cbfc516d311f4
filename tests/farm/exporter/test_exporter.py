"""The exporter shows what the scripts decide by, each number held against the decision itself."""

import time

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from farm.config import Settings
from farm.exporter.collector import FarmCollector
from farm.jobs.purchase import Cap, OverCap
from farm.jobs.states import HoldReason, State
from farm.jobs.worker_status import WorkerState, WorkerStatus
from farm.ledger import Ledger
from farm.providers import Providers
from farm.providers.gate import Gate
from farm.tenants.tenants import Tenants
from farm.webhooks.deliveries import Deliveries
from farm.wire.http import Why
from tests.farm.ledger.ledger_parts import ARTIFACTS, POOL, PREDICTED_S, admit, claimed, new_job


class Page:
    """What a scrape would show now."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(FarmCollector(redis, settings))

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def page(redis: Redis, settings: Settings) -> Page:
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    return Page(redis, settings)


@pytest.fixture
def ledger(redis: Redis, settings: Settings) -> Ledger:
    return Ledger(redis, settings)


def seen(ledger: Ledger, worker: str, state: WorkerState = WorkerState.IDLE, slots: int = 1) -> None:
    ledger.worker_seen(worker, POOL, WorkerStatus(state=state, reason='"state": "odd"'), ttl_s=60, slots=slots)


def test_what_is_there_to_claim_is_the_depth(ledger: Ledger, page: Page) -> None:
    admit(ledger, *(new_job(tenant) for tenant in ("acme", "acme", "globex")))
    admit(ledger, new_job(held_for=(HoldReason.PAUSED,)))
    depth = page("wanfarm_queue_jobs", pool=POOL)
    assert depth == ledger.claimable(POOL, most=100) == 3
    assert page("wanfarm_held_jobs", reason="paused") == page("wanfarm_pool_held_jobs", pool=POOL) == 1
    claimed(ledger)
    assert page("wanfarm_queue_jobs", pool=POOL) == 2
    assert page("wanfarm_leases", pool=POOL) == page("wanfarm_jobs", state="running") == 1


def test_the_tenant_that_stands_least_ahead_is_served_next(ledger: Ledger, page: Page, redis: Redis) -> None:
    tenants = {"acme": 1.0, "globex": 2.5, "hooli": 0.7}
    for tenant, weight in tenants.items():
        redis.hset(f"wf:tenant:{tenant}", "weight", weight)
        # of the last jobs of a pool the longest would start first
        admit(ledger, *(new_job(tenant, predicted_s=3.0 + len(tenant)) for _ in range(12)))
    for _ in range(12):
        ahead = {
            one: page("wanfarm_tenant_virtual_ahead_seconds", pool=POOL, tier="normal", tenant=one) for one in tenants
        }
        least = min(value for value in ahead.values() if value is not None)
        assert ahead[claimed(ledger).job.tenant] == least, ahead


def test_shares_and_entitlements(ledger: Ledger, page: Page, redis: Redis) -> None:
    redis.hset("wf:tenant:globex", "weight", 3)
    admit(ledger, new_job("acme"), new_job("globex"), new_job("globex"))
    entitled = [page("wanfarm_tenant_entitlement_ratio", pool=POOL, tenant=one) for one in ("acme", "globex")]
    assert entitled == [0.25, 0.75]
    for seconds in (4.0, 5.5, 2.0):
        claim = claimed(ledger)
        ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=seconds)
    used = [page("wanfarm_tenant_gpu_seconds_total", pool=POOL, tenant=one) for one in ("acme", "globex")]
    assert sum(value or 0 for value in used) == pytest.approx(11.5)
    assert page("wanfarm_tenant_entitlement_ratio", pool=POOL, tenant="acme") is None


def test_the_predicted_wait_counts_work_and_workers(ledger: Ledger, page: Page) -> None:
    admit(ledger, *(new_job("acme") for _ in range(9)), *(new_job("globex") for _ in range(2)))
    assert page("wanfarm_queue_predicted_wait_seconds", pool=POOL) is None
    seen(ledger, "w1")
    seen(ledger, "w2", WorkerState.QUARANTINED, slots=0)
    seen(ledger, "w3", slots=3)
    claimed(ledger)
    assert page("wanfarm_slots", pool=POOL) == 4
    assert page("wanfarm_queue_predicted_gpu_seconds", pool=POOL) == 10 * PREDICTED_S
    assert page("wanfarm_queue_predicted_wait_seconds", pool=POOL) == pytest.approx(10.5 * PREDICTED_S / 4)
    assert page("wanfarm_workers", pool=POOL, state="quarantined") == 1
    assert page("wanfarm_workers", pool=POOL, state="idle") == 2
    # as many wake-ups as slots, since there is work for all
    assert len(ledger.permits_wanted(POOL)) + (page("wanfarm_open_permits", pool=POOL) or 0) >= 4
    assert page("wanfarm_open_permits", pool=POOL) == 4


def test_the_oldest_job_is_found_behind_priorities_and_deadlines(ledger: Ledger, page: Page, redis: Redis) -> None:
    [old] = admit(ledger, new_job("acme", priority=1))
    admit(ledger, *(new_job("acme", priority=9) for _ in range(5)), *(new_job("globex") for _ in range(5)))
    admit(ledger, new_job("acme", priority=1, deadline_ms=int(time.time() * 1000) + 60_000))
    redis.hincrby(f"wf:job:{old}", "queued_ms", -40_000)
    assert page("wanfarm_queue_oldest_age_seconds", pool=POOL) == pytest.approx(40, abs=5)


def test_requests_that_remain_are_those_that_are_let_in(
    ledger: Ledger, page: Page, redis: Redis, settings: Settings
) -> None:
    Tenants(redis, settings).create("acme", rate_per_minute=1, rate_burst=7, max_open=40)
    admit(ledger, new_job("acme"))
    for _ in range(3):
        ledger.rate("acme")
    shown = page("wanfarm_tenant_rate_remaining_requests", tenant="acme")
    assert shown == 4
    assert [ledger.rate("acme").allowed for _ in range(5)] == [True] * 4 + [False]
    assert page("wanfarm_tenant_open_jobs_limit", tenant="acme") == 40


def test_credit_is_what_a_hold_is_measured_against(ledger: Ledger, page: Page) -> None:
    ledger.topup("acme", 10_000_000)
    admit(ledger, new_job("acme", hold=3_000_000), new_job("acme", hold=2_000_000))
    claim = claimed(ledger)
    ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=1.0)
    spent = page("wanfarm_tenant_spent_credits_total", tenant="acme")
    assert spent in (2.0, 3.0)
    account = ledger.credit("acme")
    assert account is not None
    assert page("wanfarm_tenant_balance_credits", tenant="acme") == account.balance / 1e6 == 10 - spent
    assert page("wanfarm_tenant_held_credits", tenant="acme") == account.held / 1e6 == 5 - spent


def test_drift_that_an_audit_mends_is_counted_once(ledger: Ledger, page: Page, redis: Redis) -> None:
    assert page("wanfarm_audit_age_seconds") is None
    [job] = admit(ledger, new_job("acme"))
    redis.delete(f"wf:job:{job}")

    def audit() -> None:
        cursor = ledger.audit().cursor
        while cursor is not None:
            cursor = ledger.audit(cursor).cursor

    audit()
    assert page("wanfarm_audit_drift_total", counter="index") == 1
    audit()
    assert page("wanfarm_audit_drift_total", counter="index") == 1
    age_s = page("wanfarm_audit_age_seconds")
    assert age_s is not None
    assert age_s < 60


def test_callbacks_under_way_and_dead(ledger: Ledger, page: Page, redis: Redis, settings: Settings) -> None:
    admit(ledger, new_job("acme"))
    deliveries = Deliveries(redis, settings)
    for n in range(5):
        deliveries.schedule(
            f"msg_{n}", job=f"j{n}", tenant="acme", url="https://a.example/", dialect="own", receiver=f"acme|{n % 2}"
        )
    [one] = deliveries.take(1, suspects=1, lease_s=60)
    deliveries.bury(one.id, status=500, error="no")
    assert page("wanfarm_webhooks_pending") == len(deliveries.pending()) == 4
    assert page("wanfarm_webhooks_dead") == len(deliveries.dead("acme")) == 1


def test_without_a_ledger_only_that_is_shown(settings: Settings) -> None:
    away = settings.redis.model_copy(update={"ledger_url": "redis://127.0.0.1:1/0"})
    with Redis.from_url(away.ledger_url, decode_responses=True) as redis:
        page = Page(redis, settings.model_copy(update={"redis": away}))
        assert page("wanfarm_exporter_ledger_up") == 0
        assert len(list(page.registry.collect())) == 1


def test_what_is_read_does_not_follow_the_number_of_jobs(ledger: Ledger, redis: Redis) -> None:
    """Calls within the script at 20 and at 400 jobs of the same tenants; the time is measured by bench/exporter.py."""

    def calls() -> int:
        redis.config_resetstat()
        ledger.farm_numbers()
        stats = redis.info("commandstats")
        return int(sum(one["calls"] for one in stats.values()))

    admit(ledger, *(new_job(tenant) for tenant in ("acme", "globex") for _ in range(10)))
    few = calls()
    admit(ledger, *(new_job(tenant) for tenant in ("acme", "globex") for _ in range(190)))
    assert calls() <= few + 2
    assert ledger.queue_numbers().pools[0].queued == 400


def test_many_tenants_are_read_some_at_a_time(ledger: Ledger, redis: Redis) -> None:
    """No script looks at all that is kept of every tenant: Redis would serve nobody meanwhile."""
    names = [f"tenant-{n}" for n in range(450)]
    admit(ledger, *(new_job(tenant) for tenant in names))
    first = ledger.page(names[0], states=(), limit=1).jobs[0].id
    redis.hincrby(f"wf:job:{first}", "queued_ms", -60_000)
    told = ledger.farm_numbers()
    assert {one.tenant: (one.jobs[State.QUEUED], one.open) for one in told.tenants} == dict.fromkeys(names, (1, 1))
    assert sorted(one.tenant for one in told.shares) == sorted(names)
    [pool] = told.pools
    assert (pool.queued, pool.oldest_ms) == (450, int(redis.hget(f"wf:job:{first}", "queued_ms") or 0))
    redis.config_resetstat()
    ledger.farm_numbers()
    scripts = int(redis.info("commandstats")["cmdstat_evalsha"]["calls"])
    redis.config_resetstat()
    ledger.queue_numbers()
    calls = sum(int(one["calls"]) for one in redis.info("commandstats").values())
    # the pools, the sizes of queues, the tenants, the oldest of each queue
    assert scripts == 1 + 1 + 5 + 5
    assert calls < 2.2 * len(names)


def test_a_provider_that_is_not_asked_says_why(redis: Redis, settings: Settings) -> None:
    seller = {"dialect": "kie", "base_url": "https://kie.example", "keys": {"main": {"env": "KIE_KEY"}}}
    sold = Settings(**{**settings.model_dump(), "providers": {"kie": seller}})
    sold.state_dir.mkdir(parents=True, exist_ok=True)
    page = Page(redis, sold)
    parked = {"credit": 0, "busy": 0, "paused": 0}
    assert {why: page("wanfarm_provider_parked", provider="kie", reason=why) for why in parked} == parked
    Gate(redis, sold, Providers(sold).entries).penalise("kie", "main", Why.CREDIT, None)
    assert {why: page("wanfarm_provider_parked", provider="kie", reason=why) for why in parked} == parked | {
        "credit": 1
    }


def test_what_is_spent_elsewhere_is_what_a_cap_is_measured_against(
    ledger: Ledger, redis: Redis, settings: Settings
) -> None:
    """Burst weighs the pools by FarmNumbers, which the tests above hold against claims; and money by these."""
    seller = {"dialect": "kie", "base_url": "https://kie.example", "keys": {"main": {"env": "KIE_KEY"}}}
    sold = Settings(**{**settings.model_dump(), "providers": {"kie": seller}})
    sold.state_dir.mkdir(parents=True, exist_ok=True)
    page, cap = Page(redis, sold), Cap("farm", "month", 10_000_000)
    jobs, intent = admit(ledger, *(new_job() for _ in range(3))), {"provider": "kie", "key": "main"}
    for nonce, job, price in (("n1", jobs[0], 3_000_000), ("n2", jobs[1], 4_500_000)):
        assert not isinstance(ledger.buy(job, "b", nonce, intent, price=price, caps=[cap]), OverCap)
    shown = page("wanfarm_external_month_usd", scope="farm")
    assert shown == 7.5
    over = ledger.buy(jobs[2], "b", "n3", intent, price=9_000_000, caps=[cap])
    assert isinstance(over, OverCap)
    assert over.left == cap.most - shown * 1_000_000
