"""A ledger on the tests' Redis."""

import pytest
from redis import Redis

from farm.config import RedisSettings, Settings
from farm.ledger import Ledger


@pytest.fixture
def ledger_settings(redis_settings: RedisSettings) -> Settings:
    return Settings(redis=redis_settings)


@pytest.fixture
def ledger(redis: Redis, ledger_settings: Settings) -> Ledger:
    return Ledger(redis, ledger_settings)
