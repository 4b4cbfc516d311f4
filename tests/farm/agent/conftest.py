import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from preloaded import Renders

from farm.config import LeaseSettings, RedisSettings, S3Settings, SchedulingSettings, Settings, WorkerSettings
from tests.conftest import redis_served
from tests.farm.agent.agent_farm import AgentFarm, AgentProcess, changed, farm_on


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server for the tests of this folder: the farms of some live on it until the session ends, and what they ask
    for would be counted by the tests of other folders that count what a server does."""
    yield from redis_served(tmp_path_factory.mktemp("redis-of-agents"))


@pytest.fixture(scope="module")
def farm_settings(redis_port: int, s3_server: S3Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return short_clocks(redis_port, s3_server, tmp_path_factory.mktemp("yard"))


def short_clocks(redis_port: int, s3_server: S3Settings, folder: Path) -> Settings:
    """Short clocks, the engine that does what prompts say, keys and databases of their own.

    Other tests of the same process read and empty databases 0 and 1 of the same server while an agent still ends.
    """
    base = f"redis://127.0.0.1:{redis_port}"
    return Settings(
        state_dir=folder / "state",
        redis=RedisSettings(
            ledger_url=f"{base}/4", broker_url=f"{base}/5", prefix=f"yard-{uuid.uuid4().hex[:8]}", waitaof=False
        ),
        s3=s3_server,
        lease=LeaseSettings(
            seconds=3.0, stuck_s=4.0, cancel_grace_s=1.0, backoff_s=0.05, backoff_max_s=0.1, poison_losses=2
        ),
        scheduling=SchedulingSettings(permit_ttl_s=2.0),
        worker=WorkerSettings(engine="tests.engines.actions", devices="cpu", deaf_s=30.0),
    )


@pytest.fixture(scope="module")
def farm(farm_settings: Settings) -> Iterator[AgentFarm]:
    with farm_on(farm_settings, farm_settings.state_dir.parent) as farm:
        yield farm


@pytest.fixture(scope="session")
def real(redis_port: int, s3_server: S3Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentFarm]:
    """A farm whose engine is the real one, on tiny weights; what it was doctored for, only its own tests ask for. One
    for all who need it (group "e2e-real"): its imports cost more than their renders."""
    folder = tmp_path_factory.mktemp("real")
    lease = {"seconds": 15.0, "stuck_s": 120.0}
    models = ("wan2.2-ti2v-5b-tiny", "wan2.2-animate-14b-tiny")
    worker = {"engine": "tests.engines.doctored", "models": models, "models_dir": folder / "models"}
    settings = changed(short_clocks(redis_port, s3_server, folder), folder, lease=lease, worker=worker)
    with farm_on(settings, folder, popen=Renders) as farm:
        yield farm


@pytest.fixture(scope="session")
def real_agent(real: AgentFarm) -> AgentProcess:
    return real.agent()
