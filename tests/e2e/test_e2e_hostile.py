"""A farm whose network lies: answers of the ledger are lost on their way, the broker falls silent without closing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from blackhole import BlackHole
from e2e_laws import audit_end
from harness import REDIS_PASSWORD, Farm, fresh_seed

from farm.embedded.ports import free_port
from farm.jobs.states import State

pytestmark = pytest.mark.xdist_group("e2e-hostile")
#: of the scripts that are carried out, this share is reported as failed
LOST_ANSWERS = 0.1


@pytest.fixture(scope="module")
def hole() -> Iterator[BlackHole]:
    with BlackHole(free_port()) as between:
        yield between


@pytest.fixture(scope="module")
def silenced(hole: BlackHole, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm that reaches its broker, and only that, through the black hole."""
    settings = {
        "embedded": {"redis_port": hole.target},
        "redis": {"broker_url": f"redis://:{REDIS_PASSWORD}@127.0.0.1:{hole.port}/1"},
    }
    with Farm(tmp_path_factory.mktemp("silenced"), settings) as farm:
        yield farm.start()


def test_a_half_open_broker_connection_heals(silenced: Farm, hole: BlackHole) -> None:
    farm = silenced
    [warm] = farm.wait_over(farm.submit("ok"))
    assert warm.state is State.SUCCEEDED

    hole.swallow()
    unheard = [farm.submit("ok") for _ in range(3)]  # accepted: the ledger is the queue
    hole.heal()
    heard = farm.submit("ok")

    assert {job.state for job in farm.wait_over(*unheard, heard)} == {State.SUCCEEDED}
    farm.settle()
    audit_end(farm)


def test_lost_answers_of_the_ledger_change_nothing(tmp_path: Path) -> None:
    seed = fresh_seed()
    print(f"E2E_FLAKY={seed}:{LOST_ANSWERS}")
    with Farm(tmp_path, {"worker": {"devices": "cpu:2"}}, E2E_FLAKY=f"{seed}:{LOST_ANSWERS}") as farm:
        farm.start(workers=2)
        with ThreadPoolExecutor(6) as users:
            good = list(users.map(farm.submit, ["ok"] * 6))
        again = farm.submit("fault engine_error cured", max_attempts=10)
        bad = farm.submit("fault invalid_input")
        unwanted = farm.submit("hold never")
        farm.wait_render(again)
        farm.pull("cured")
        farm.wait_render(unwanted)
        with farm.client as client:
            client.jobs.cancel(unwanted)

        states = {job.id: job.state for job in farm.wait_over(*farm.acknowledged)}
        assert {states[job] for job in good} == {State.SUCCEEDED}
        assert states[again] is State.SUCCEEDED
        assert states[bad] is State.FAILED
        assert states[unwanted] is State.CANCELLED
        farm.settle()
        audit_end(farm)
