"""From settings to addresses."""

import socket
import tomllib
from pathlib import Path

import pytest

from farm.config import EmbeddedSettings, GatewaySettings, RedisSettings, S3Settings, Settings, WorkerSettings
from farm.embedded import settings_file
from farm.embedded.folder import StateFolder
from farm.embedded.plan import BadPlan, decide, refuse_written_settings
from farm.embedded.ports import free_port


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.make()
    return folder


def test_ports_and_keys_are_the_same_at_every_start(folder: StateFolder) -> None:
    first, second = (decide(Settings(state_dir=folder.path), folder) for _ in range(2))
    assert first == second
    ports = {first.redis_port, first.s3_port, first.settings.gateway.port}
    assert len(ports) == 3
    assert first.url == f"http://127.0.0.1:{first.settings.gateway.port}"
    base = f"redis://:{first.redis_password}@127.0.0.1:{first.redis_port}"
    assert len(first.redis_password) > 30
    assert first.settings.redis.ledger_url == f"{base}/0"
    assert first.settings.redis.broker_url == f"{base}/1"
    assert first.settings.s3.secret_key != S3Settings().secret_key
    assert first.settings.worker.models_dir == folder.path / "models"


def test_a_remembered_port_that_somebody_took_is_replaced(folder: StateFolder) -> None:
    before = decide(Settings(state_dir=folder.path), folder)
    with socket.create_server(("127.0.0.1", before.redis_port)):
        after = decide(Settings(state_dir=folder.path), folder)
    assert after.redis_port != before.redis_port
    assert after.s3_port == before.s3_port


def test_configured_ports_are_taken_as_they_are(folder: StateFolder) -> None:
    given = Settings(
        state_dir=folder.path,
        gateway=GatewaySettings(port=8601),
        embedded=EmbeddedSettings(redis_port=8602, s3_port=8603),
    )
    plan = decide(given, folder)
    assert (plan.settings.gateway.port, plan.redis_port, plan.s3_port) == (8601, 8602, 8603)


def test_servers_that_run_already_are_used(folder: StateFolder) -> None:
    given = Settings(
        state_dir=folder.path,
        redis=RedisSettings(ledger_url="redis://db/0", broker_url="redis://db/1"),
        s3=S3Settings(endpoint="minio:9000", access_key="a", secret_key="b"),
        worker=WorkerSettings(models_dir=Path("weights")),
    )
    plan = decide(given, folder)
    assert not plan.own_redis
    assert not plan.own_s3
    assert plan.settings.redis == given.redis
    assert plan.settings.s3 == given.s3


def test_half_a_foreign_redis_is_refused(folder: StateFolder) -> None:
    with pytest.raises(BadPlan, match="broker_url"):
        decide(Settings(state_dir=folder.path, redis=RedisSettings(ledger_url="redis://db/0")), folder)


def test_a_farm_for_others_signs_for_the_address_that_they_dial(folder: StateFolder) -> None:
    everywhere = Settings(state_dir=folder.path, gateway=GatewaySettings(host="0.0.0.0"))
    plan = decide(everywhere, folder)
    assert plan.s3_host == "0.0.0.0"
    assert plan.url.startswith("http://127.0.0.1:")
    assert plan.settings.s3.endpoint == f"127.0.0.1:{plan.s3_port}"
    assert plan.settings.s3.public_endpoint is not None
    assert not plan.settings.s3.public_endpoint.startswith("0.0.0.0")
    proxied = GatewaySettings(host="0.0.0.0", public_url="https://farm.studio.example")
    plan = decide(Settings(state_dir=folder.path, gateway=proxied), folder)
    assert plan.settings.s3.public_endpoint == f"farm.studio.example:{plan.s3_port}"
    # on this machine only: one address for all
    assert decide(Settings(state_dir=folder.path), folder).settings.s3.public_endpoint is None


def test_parts_read_exactly_what_was_decided(folder: StateFolder) -> None:
    settings = decide(Settings(state_dir=folder.path, worker=WorkerSettings(models=("a", "b"))), folder).settings
    text = settings_file.render(settings)
    assert Settings(**tomllib.loads(text)) == settings


def test_up_does_not_start_from_what_it_wrote_itself(folder: StateFolder) -> None:
    refuse_written_settings(None, folder)
    refuse_written_settings("mine.toml", folder)
    with pytest.raises(BadPlan, match="your own"):
        refuse_written_settings(str(folder.settings_file), folder)


def test_a_free_port_is_the_preferred_one_when_nobody_has_it() -> None:
    port = free_port()
    assert free_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert free_port(port) != port
