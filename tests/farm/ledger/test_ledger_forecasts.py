"""Housekeeping's forecasts: made from the queues, read by gateways, judged by what happened."""

import pytest
from ledger_parts import ARTIFACTS, POOL, ByNumber, admit, claimed, new_job
from redis import Redis

from bench.virtual_clock import VirtualClock
from farm.config import LeaseSettings, RedisSettings, Settings
from farm.io_worker.forecasting import Forecasting
from farm.jobs.job import Job
from farm.jobs.states import Tier
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger, SwitchKind
from farm.wire.own_forecast import forecast_of, left_s


@pytest.fixture
def clock(redis: Redis) -> VirtualClock:
    return VirtualClock(redis, "wf", start_ms=1_700_000_000_000)


@pytest.fixture
def ledger(redis: Redis, redis_settings: RedisSettings, clock: VirtualClock) -> Ledger:
    found = ByNumber(redis, Settings(redis=redis_settings, lease=LeaseSettings(seconds=60)), clock=clock.lua)
    found.worker_seen("w1", POOL, WorkerStatus(), ttl_s=60)
    return found


def test_a_job_is_told_when_its_turn_comes(ledger: Ledger) -> None:
    ids = admit(ledger, *[new_job("a", predicted_s=20.0) for _ in range(10)])
    other = admit(ledger, *[new_job("b", predicted_s=20.0) for _ in range(3)])
    Forecasting(ledger).refresh()
    line = ledger.forecast(POOL, Tier.NORMAL, "a")
    job = ledger.find(ids[-1])
    assert job is not None
    told = forecast_of(job, line)
    assert told is not None
    # nine of its own and three of another, one after the other
    begin_s = told.start.timestamp() - 1_700_000_000
    assert begin_s == pytest.approx(12 * 20, abs=1)
    assert left_s(job, told) == pytest.approx(13 * 20, abs=1)
    assert told.start_from < told.start < told.start_until <= told.finish_until
    # urgent jobs wait for none of that
    ledger.set_tier(other[0], Tier.URGENT, who="op", why="test")
    Forecasting(ledger).refresh()
    urgent = ledger.find(other[0])
    assert urgent is not None
    soon = forecast_of(urgent, ledger.forecast(POOL, Tier.URGENT, "b"))
    assert soon is not None
    assert soon.start.timestamp() == 1_700_000_000
    assert ledger.forecast(POOL, Tier.NORMAL, "nobody") is None


def test_a_job_of_the_loaded_lane_is_told_to_start_before_one_that_was_there_first(ledger: Ledger) -> None:
    first, *ids = admit(ledger, *[new_job("a", lane=lane) for lane in ["warm", *["cold", "warm"] * 8]])
    assert claimed(ledger).job.id == first
    Forecasting(ledger).refresh()
    line = ledger.forecast(POOL, Tier.NORMAL, "a")
    told = [forecast_of(job_of(ledger, job), line) for job in ids]
    assert None not in told
    cold, warm = ([one.start for one in told[n::2] if one] for n in (0, 1))
    assert max(warm) < min(cold)
    # as it is told where the seconds that stand before it are known
    asked = forecast_of(job_of(ledger, ids[0]), line, own_s=0.0)
    assert asked is not None
    assert asked.start == cold[0]


def test_of_a_paused_pool_nothing_is_foretold(ledger: Ledger) -> None:
    admit(ledger, new_job("a"))
    ledger.pause(SwitchKind.POOL, POOL, who="op", why="test")
    Forecasting(ledger).refresh()
    assert ledger.forecast(POOL, Tier.NORMAL, "a") is None


def test_of_a_pool_whose_workers_are_locked_nothing_is_foretold(ledger: Ledger) -> None:
    admit(ledger, new_job("a"))
    Forecasting(ledger).refresh()
    assert ledger.forecast(POOL, Tier.NORMAL, "a") is not None
    before = ledger.snapshot(POOL)[1].slots
    for worker in ledger.workers():
        ledger.pause(SwitchKind.WORKER, worker.worker, who="op", why="test")
    Forecasting(ledger).refresh()
    assert (before > 0, ledger.snapshot(POOL)[1].slots) == (True, 0)
    assert ledger.forecast(POOL, Tier.NORMAL, "a") is None


def test_predictions_are_judged_once_by_what_happened(ledger: Ledger, clock: VirtualClock) -> None:
    forecasting = Forecasting(ledger)
    first, last = admit(ledger, new_job("a", predicted_s=20.0), new_job("a", predicted_s=20.0))
    while last not in {one.job for one in ledger.foretold(POOL)}:
        # one job of each tenant, another each time
        for job in (first, last):
            ledger.judged(POOL, job)
        clock.move(1)
        forecasting.refresh()
    claimed(ledger)
    clock.move(40)  # twice as long as predicted
    ledger.commit(first, 1, ARTIFACTS, gpu_s=40)
    claimed(ledger)
    forecasting.refresh()
    clock.move(20)
    ledger.commit(last, 1, ARTIFACTS, gpu_s=20)
    ledger.worker_seen("w1", POOL, WorkerStatus(), ttl_s=60)
    admit(ledger, new_job("a"))
    forecasting.refresh()
    line = ledger.forecast(POOL, Tier.NORMAL, "a")
    assert line is not None
    # half a minute from when it was foretold instead of what is left of twenty seconds, and as much later at its end
    assert [len(line.start_scores), len(line.finish_scores)] == [1, 1]
    assert line.start_scores[0] > 0.5
    assert line.finish_scores[0] > 0.2
    assert last not in {one.job for one in ledger.foretold(POOL)}


def test_of_many_tenants_some_are_picked_and_others_the_next_time(ledger: Ledger, clock: VirtualClock) -> None:
    names = {f"tenant-{n}" for n in range(130)}
    admit(ledger, *[new_job(tenant) for tenant in names])
    picked, looks = set[str](), 0
    while picked != names:
        _, snapshot = ledger.snapshot(POOL)
        [line] = [tier for tier in snapshot.tiers if tier]
        assert {one.tenant for one in line} == names
        found = [one for one in line if one.one]
        assert 0 < len(found) <= 50
        picked |= {one.tenant for one in found}
        looks += 1
        assert looks < 20
        clock.move(1)


def test_every_render_that_ends_tells_how_long_its_tenant_s_take(ledger: Ledger, clock: VirtualClock) -> None:
    ids = admit(ledger, *[new_job("a", predicted_s=20.0) for _ in range(6)])
    for n, job in enumerate(ids[:-1]):
        claim = ledger.claim(POOL, "w1", loaded="lane" if n else None)
        assert claim is not None
        clock.move(40 if n else 70)
        ledger.commit(job, 1, ARTIFACTS, gpu_s=40)
    known, cold = ledger.renders(POOL)
    # the first one had to load the worker's model
    assert (cold.count, cold.predicted_s, cold.took_s) == (1, 20.0, 70.0)
    assert known["a"].took_s == pytest.approx(2 * known["a"].predicted_s)
    assert known["a"].count == pytest.approx(4, abs=0.2)
    ledger.worker_seen("w1", POOL, WorkerStatus(), ttl_s=60)
    Forecasting(ledger).refresh()
    line = ledger.forecast(POOL, Tier.NORMAL, "a")
    assert line is not None
    assert line.pace.level > 1.7
    told = forecast_of(job_of(ledger, ids[-1]), line)
    assert told is not None
    assert told.finish.timestamp() - told.start.timestamp() > 30


def test_forecasts_that_come_true_too_late_are_stretched(ledger: Ledger, clock: VirtualClock) -> None:
    forecasting = Forecasting(ledger)
    due_ms = clock.now_ms + 86_400_000
    waits = admit(ledger, *[new_job("a", predicted_s=20.0, tier=Tier.ECONOMY, deadline_ms=due_ms) for _ in range(30)])
    lefts = []
    for _ in range(60):
        # somebody else's job comes for each that is rendered
        admit(ledger, new_job("b", predicted_s=20.0))
        claimed_now = ledger.claim(POOL, "w1", loaded="lane")
        assert claimed_now is not None
        forecasting.refresh()
        clock.move(20)
        ledger.worker_seen("w1", POOL, WorkerStatus(), ttl_s=60)
        ledger.commit(claimed_now.job.id, 1, ARTIFACTS, gpu_s=20)
        told = forecast_of(job_of(ledger, waits[-1]), ledger.forecast(POOL, Tier.ECONOMY, "a"))
        assert told is not None
        lefts.append(told.start.timestamp() - clock.now_ms / 1000)
    assert lefts[0] < 1000
    assert lefts[-1] > 4 * lefts[0]


def job_of(ledger: Ledger, job_id: str) -> Job:
    found = ledger.find(job_id)
    assert found is not None
    return found
