"""Several agents on one queue: nothing is done twice, nothing is hidden, nobody idles beside work."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farm.config import Settings
from farm.jobs.states import State
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import AgentFarm, AgentProcess, changed, farm_on

pytestmark = pytest.mark.xdist_group("agent_fleet")


#: kombu asks the broker for a message for a second at a time
LISTENING_S = 1.2


@pytest.fixture(scope="module")
def farm(farm_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentFarm]:
    """With leases that outlast a frozen agent: nothing here is lost with one."""
    folder = tmp_path_factory.mktemp("fleet")
    with farm_on(changed(farm_settings, folder, lease={"seconds": 60.0, "stuck_s": 120.0}), folder) as farm:
        yield farm


@pytest.fixture(scope="module")
def fleet(farm: AgentFarm) -> tuple[AgentProcess, AgentProcess]:
    """The first may plan with a GB, the second with all that there is."""
    first = farm.agent("cpu-0", ready=False, WANFARM_WORKER__GPU_MEMORY_GB="1")
    second = farm.agent("cpu-1", ready=False)
    for agent in (first, second):
        agent.wait_state("idle")
    return first, second


Fleet = tuple[AgentProcess, AgentProcess]


def beside(fleet: Fleet, worker: object) -> AgentProcess:
    """The agent that is not that worker."""
    (other,) = [agent for agent in fleet if not str(worker).endswith(agent.slot)]
    return other


@contextmanager
def frozen(agent: AgentProcess) -> Iterator[None]:
    """While this lasts, what is sent is heard by the other one, if anybody hears it."""
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        time.sleep(LISTENING_S)  # the broker stops waiting for the frozen one; nothing tells when
        yield
    finally:
        os.kill(agent.pid, signal.SIGCONT)


def left_queued(farm: AgentFarm, job: str) -> bool:
    """Whether nobody takes the job."""
    time.sleep(LISTENING_S)  # whoever listens has heard by then
    return farm.job(job).state == State.QUEUED


def test_a_busy_agent_hides_no_permit(farm: AgentFarm, fleet: Fleet, tmp_path: Path) -> None:
    for together in range(3):
        go = tmp_path / f"go-{together}"
        jobs = farm.submit_many([f"tail:{go}"] * 2)
        workers = {farm.wait_state(job, State.RUNNING, phase="decoding").worker for job in jobs}
        assert len(workers) == 2, "both run at once"
        go.touch()
        for job in jobs:
            farm.committed(job)


def test_a_new_job_goes_to_the_agent_that_is_free(farm: AgentFarm, fleet: Fleet, tmp_path: Path) -> None:
    busy = farm.submit(f"tail:{tmp_path / 'go'}")
    first = farm.wait_state(busy, State.RUNNING, phase="decoding").worker
    idle = beside(fleet, first)
    with frozen(idle):
        second = farm.submit("ok")
        assert left_queued(farm, second), "the busy one could prepare it already, but leaves it to whoever is free"
    assert str(farm.committed(second).worker).endswith(idle.slot)
    (tmp_path / "go").touch()
    farm.committed(busy)


def test_a_queued_job_is_left_to_an_agent_that_idles(farm: AgentFarm, fleet: Fleet, tmp_path: Path) -> None:
    ahead = tmp_path / "ahead"
    busy = farm.submit(f"then:{ahead}:draw:{tmp_path / 'go'}")
    first = farm.wait_state(busy, State.RUNNING, phase="loading").worker
    idle = beside(fleet, first)
    idle.wait_state("idle")
    with frozen(idle):
        second = farm.submit("ok")
        # it nears its end with a job in the queue, and could hold that one ahead
        ahead.touch()
        farm.wait_state(busy, State.RUNNING, phase="denoising")
        assert left_queued(farm, second)
    assert str(farm.committed(second).worker).endswith(idle.slot)
    (tmp_path / "go").touch()
    farm.committed(busy)


def test_every_job_of_a_batch_is_committed_once(farm: AgentFarm, fleet: Fleet) -> None:
    jobs = farm.submit_many(["slow:1"] * 20)
    done = [farm.committed(job) for job in jobs]
    assert all(job.attempt == 1 for job in done)
    share = [sum(1 for job in done if job.worker and job.worker.endswith(agent.slot)) for agent in fleet]
    assert sum(share) == 20
    assert min(share) > 0, "both took part"
    wait_until(lambda: farm.ledger.claimable("default") == 0, what="an empty queue")


def test_a_large_job_is_left_to_the_agent_that_holds_it(farm: AgentFarm, fleet: Fleet, tmp_path: Path) -> None:
    small, large = fleet
    assert small.facts()["memory"] == {"device_bytes": 1e9, "host_bytes": None, "fp8": False}
    busy = farm.submit(f"tail:{tmp_path / 'go'}", needs="5000:0")
    assert str(farm.wait_state(busy, State.RUNNING, phase="decoding").worker).endswith(large.slot)
    # the small one idles beside the second, and takes the third
    second, third = farm.submit("ok", needs="5000:0", max_attempts=1), farm.submit("ok", needs="900:0")
    assert str(farm.committed(third).worker).endswith(small.slot)
    (tmp_path / "go").touch()
    job = farm.committed(second)
    assert (str(job.worker).endswith(large.slot), job.attempt) == (True, 1)
    farm.committed(busy)


def test_lost_and_doubled_permits_cost_nothing(farm: AgentFarm, fleet: Fleet) -> None:
    import redis

    with redis.Redis.from_url(farm.settings.redis.broker_url) as broker:
        queue = f"{farm.settings.redis.prefix}:celery:pool.default"
        jobs = farm.submit_many(["slow:2"] * 6)
        broker.delete(queue)
        jobs += farm.submit_many(["slow:1"] * 4)
        if messages := broker.lrange(queue, 0, -1):
            broker.lpush(queue, *messages, *messages)
        for job in jobs:
            assert farm.committed(job).attempt == 1
    wait_until(lambda: all(agent.facts().get("state") == "idle" for agent in fleet), what="rest")
