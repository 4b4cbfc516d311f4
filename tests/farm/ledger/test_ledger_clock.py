"""The clock of the scripts is chosen where they are put together, and a farm's scripts have no door for it."""

import pytest
from ledger_parts import ARTIFACTS, BROKE, POOL, ByNumber, admit, audit, claimed, new_job
from redis import Redis
from test_ledger_scripts import SCRIPTS, TEXTS, text

from bench.virtual_clock import VirtualClock
from farm.config import LeaseSettings, RedisSettings, Settings
from farm.jobs.states import State
from farm.ledger import Ledger

DAY_S = 24 * 3600.0


@pytest.fixture
def clock(redis: Redis) -> VirtualClock:
    return VirtualClock(redis, "wf", start_ms=1_700_000_000_000)


@pytest.fixture
def simulated(redis: Redis, redis_settings: RedisSettings, clock: VirtualClock) -> Ledger:
    settings = Settings(redis=redis_settings, lease=LeaseSettings(seconds=60, backoff_s=DAY_S, backoff_max_s=DAY_S))
    return ByNumber(redis, settings, clock=clock.lua)


def test_real_scripts_live_through_days_at_once(simulated: Ledger, clock: VirtualClock) -> None:
    ledger = simulated
    lost, broken, done = admit(ledger, *[new_job() for _ in range(3)])
    assert ledger.reap().expired == 0
    for _ in range(3):
        claimed(ledger)
    ledger.fail(broken, 1, BROKE)
    ledger.commit(done, 1, ARTIFACTS, gpu_s=1)
    for seconds in (20, 20, 19.9):  # whoever reaps is at its post
        clock.move(seconds)
        assert ledger.reap().expired == 0
    clock.move(0.1)
    assert ledger.reap().expired == 1
    assert ledger.claim(POOL, "w1") is None
    clock.move(1.25 * DAY_S)
    assert {claimed(ledger).job.id, claimed(ledger).job.id} == {lost, broken}
    job = ledger.find(lost)
    assert job is not None
    assert (job.created_ms, job.started_ms) == (1_700_000_000_000, clock.now_ms)
    assert (job.lease_until_ms, job.state) == (clock.now_ms + 60_000, State.RUNNING)
    assert audit(ledger) == {}


def test_the_clock_stands_still_until_it_is_moved(simulated: Ledger, clock: VirtualClock) -> None:
    (first,) = admit(simulated, new_job())
    clock.move(-3600)  # a server whose clock was set back
    (second,) = admit(simulated, new_job())
    one, two = simulated.find(first), simulated.find(second)
    assert one is not None
    assert two is not None
    assert one.created_ms - two.created_ms == 3_600_000


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_farm_s_scripts_read_the_server_s_clock_and_no_other(name: str) -> None:
    sent = text(name)
    assert "virtual" not in sent
    uses_now = "NOW" in TEXTS[name] or "NOW" in sent
    assert sent.count("redis.call('TIME')") == int(uses_now)
    assert sent.count("local NOW\n") == int(uses_now)
