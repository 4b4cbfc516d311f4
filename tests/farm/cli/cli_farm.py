"""The command in an empty folder with a farm to ask, and somebody who renders."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.job import Claim
from tests.farm.cli.cli_run import Ran, run
from tests.farm.client.conftest import Gateway

Wanfarm = Callable[..., Ran]


@pytest.fixture
def wanfarm(
    gateway: Gateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Wanfarm:
    """The command in an empty folder, with the tenant's address and key in its environment."""
    with gateway.client() as client:
        monkeypatch.setenv("WANFARM_URL", client.url)
        monkeypatch.setenv("WANFARM_API_KEY", client.key)
    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture
def worker(gateway: Gateway, claimed: Callable[[], Claim]) -> Iterator[threading.Event]:
    """Renders whatever is queued, two steps each, until told to stop."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            if (claim := gateway.parts.ledger.claim("default", "hand")) is None:
                continue
            for step in (1, 2):
                gateway.hand.progress(claim, step, 2)
            if claim.job.spec.prompt == "fail":
                fault = JobFault(FaultCode.INVALID_INPUT, "the picture shows nothing")
                gateway.parts.ledger.fail(claim.job.id, claim.attempt, fault)
            else:
                gateway.commit(claim)

    thread = threading.Thread(target=work)
    thread.start()
    yield stop
    stop.set()
    thread.join()
