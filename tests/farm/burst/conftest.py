"""A simulated kie, and a gateway that hears its callbacks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from burst_parts import KEY, KEY_ENV, BuyingFarm, buying, simulated

from api.app import create_app
from farm.config import Settings
from farm.storage.store import Store
from tests.api.gateway_thread import served
from tools.provider_simulator.simulator import Simulator


@pytest.fixture
def kie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    monkeypatch.setenv(KEY_ENV, KEY)
    with simulated("kie", tmp_path) as made:
        yield made


@pytest.fixture
def farm(settings: Settings, kie: Simulator) -> Iterator[Callable[..., BuyingFarm]]:
    """Starts a farm that buys from kie; `door`: with a gateway for callbacks."""
    with ExitStack() as stack:

        def make(*, door: bool = False, **burst: Any) -> BuyingFarm:
            Store(settings.s3).ensure_bucket()
            url = stack.enter_context(served(create_app(settings))) if door else None
            return stack.enter_context(BuyingFarm(buying(settings, {"kie": kie}, public_url=url, **burst)))

        yield make
