"""Limits that hold where nobody set one for the tenant."""

import pytest
from ledger_parts import ByNumber, admit, new_job
from redis import Redis

from farm.config import RedisSettings, SchedulingSettings, Settings
from farm.jobs.errors import TooMany


def test_a_tenant_without_a_limit_has_the_farms(redis: Redis, redis_settings: RedisSettings) -> None:
    ledger = ByNumber(redis, Settings(redis=redis_settings, scheduling=SchedulingSettings(max_open=3)))
    redis.hset("wf:tenant:large", "max_open", 5)
    for tenant, most in (("plain", 3), ("large", 5)):
        ids = admit(ledger, *(new_job(tenant) for _ in range(most)))
        with pytest.raises(TooMany):
            ledger.admit([new_job(tenant)])
        # what is over counts no more
        ledger.cancel(tenant, ids[0])
        admit(ledger, new_job(tenant))


def test_many_at_once_are_all_or_nothing(redis: Redis, redis_settings: RedisSettings) -> None:
    ledger = ByNumber(redis, Settings(redis=redis_settings, scheduling=SchedulingSettings(max_open=3)))
    with pytest.raises(TooMany):
        ledger.admit([new_job("plain") for _ in range(4)])
    assert ledger.counts("plain") == dict.fromkeys(ledger.counts("plain"), 0)
