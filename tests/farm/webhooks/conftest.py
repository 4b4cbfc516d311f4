"""A postman on real parts, and receivers that do as they are told."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from receiver import Receiver
from redis import Redis
from webhooks_parts import Office

from farm.config import DialectRetries, Settings
from farm.ledger import Ledger
from farm.storage.store import Store
from farm.webhooks.postman import Postman


@pytest.fixture
def receivers() -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def make(**how: Any) -> Receiver:
        made.append(Receiver(**how))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def office(settings: Settings, redis: Redis) -> Iterator[Office]:
    dialects = {"apixo": DialectRetries(first_retry_s=0.05)}
    quick = {"first_retry_s": 0.05, "max_retry_s": 0.2, "dialects": dialects, "timeout_s": 3.0, "threads": 6}
    settings = settings.model_copy(
        update={
            "webhooks": settings.webhooks.model_copy(update=quick),
            "intake": settings.intake.model_copy(update={"allow_networks": ("127.0.0.0/8",)}),
        }
    )
    ledger = Ledger(redis, settings)
    postman = Postman(settings, redis, ledger, Store(settings.s3))
    yield Office(settings, redis, ledger, postman)
    postman.close()
