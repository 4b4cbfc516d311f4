"""A farm whose gateway, ledger and store are real and whose one worker only said what it renders."""

import pytest
from redis import Redis
from submit_parts import TINY, Woken

from farm.config import Settings
from farm.jobs.worker_status import WorkerStatus
from farm.ledger.ledger import Ledger
from farm.storage.store import Store
from farm.submission.submit import Submissions


@pytest.fixture
def ledger(redis: Redis, settings: Settings) -> Ledger:
    ledger = Ledger(redis, settings)
    ledger.worker_seen("w1", "default", WorkerStatus(models=tuple(TINY)), ttl_s=600)
    return ledger


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.s3)


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def submissions(settings: Settings, ledger: Ledger, store: Store, woken: Woken) -> Submissions:
    return Submissions(settings, ledger, store, woken)
