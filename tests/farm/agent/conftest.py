from collections.abc import Iterator

import pytest

from farm.config import LeaseSettings, RedisSettings, S3Settings, SchedulingSettings, Settings, WorkerSettings
from tests.farm.agent.yard import Yard, yard_on

_farms = iter(range(1000))


@pytest.fixture(scope="module")
def yard_settings(redis_port: int, s3_server: S3Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Short clocks, the engine that does what prompts say, and keys of this module's own."""
    base = f"redis://127.0.0.1:{redis_port}"
    return Settings(
        state_dir=tmp_path_factory.mktemp("yard") / "state",
        redis=RedisSettings(
            ledger_url=f"{base}/0", broker_url=f"{base}/1", prefix=f"yard{next(_farms)}", waitaof=False
        ),
        s3=s3_server,
        lease=LeaseSettings(
            seconds=3.0, stuck_s=4.0, cancel_grace_s=1.0, backoff_s=0.05, backoff_max_s=0.1, poison_losses=2
        ),
        scheduling=SchedulingSettings(permit_ttl_s=2.0),
        worker=WorkerSettings(engine="tests.engines.actions", devices="cpu", deaf_s=30.0),
    )


@pytest.fixture(scope="module")
def yard(yard_settings: Settings) -> Iterator[Yard]:
    with yard_on(yard_settings, yard_settings.state_dir.parent) as yard:
        yield yard
