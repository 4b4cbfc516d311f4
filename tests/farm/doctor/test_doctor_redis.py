"""The doctor in front of a Redis: well configured, and badly in each way that costs jobs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_redis import redis_command
from redis import Redis

from farm.config import RedisSettings
from farm.doctor import redis_checks
from farm.doctor.finding import Finding, Level
from farm.embedded import redis_part
from farm.embedded.ports import free_port
from tests.conftest import _serve, wait_until

HERE = "redis://127.0.0.1"
TIMED = {"redis.latency", "redis.waitaof"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    yield from _serve(redis_command(folder, port, fsync="always"), port, folder / "log")


@pytest.fixture
def server(port: int) -> Iterator[Redis]:
    """Configured well again afterwards."""
    with Redis(port=port, decode_responses=True) as redis:
        redis.config_set("maxmemory", "1gb")
        yield redis
        redis.config_set("appendonly", "yes", "appendfsync", "always", "maxmemory-policy", "noeviction")
        redis.acl_deluser("narrow")


def settings(port: int, **changes: object) -> RedisSettings:
    given = RedisSettings(ledger_url=f"{HERE}:{port}/0", broker_url=f"{HERE}:{port}/1")
    return given.model_copy(update=changes)


def found(given: RedisSettings) -> dict[str, Finding]:
    return {one.check: one for one in redis_checks.examine(given)}


def test_a_good_server_has_no_fault(server: Redis, port: int) -> None:
    told = found(settings(port))
    # how fast it is while other tests run is no question of its configuration
    faults = [one for one in told.values() if one.level is not Level.OK and one.check not in TIMED]
    assert faults == []
    assert told.keys() > TIMED
    assert len(told) == 11
    assert server.keys() == []


@pytest.mark.parametrize(
    ("name", "value", "check", "level", "word"),
    [
        ("appendonly", "no", "redis.persistence", Level.ERROR, "appendonly yes"),
        ("appendfsync", "no", "redis.persistence", Level.ERROR, "appendfsync always"),
        ("appendfsync", "everysec", "redis.persistence", Level.WARNING, "appendfsync always"),
        ("maxmemory-policy", "allkeys-lru", "redis.eviction", Level.ERROR, "noeviction"),
        ("maxmemory", "0", "redis.memory", Level.WARNING, "maxmemory"),
        ("maxmemory", "1mb", "redis.memory", Level.WARNING, "maxmemory"),
    ],
)
def test_a_bad_setting_is_told(
    server: Redis, port: int, name: str, value: str, check: str, level: Level, word: str
) -> None:
    server.config_set(name, value)
    told = found(settings(port))
    assert told[check].level is level
    assert word in (told[check].todo or "")
    # a fault is told once, where it is
    full = {"redis.scripts"} if value == "1mb" else set()
    errors = {one.check for one in told.values() if one.level is Level.ERROR}
    assert errors - TIMED == full | ({check} if level is Level.ERROR else set())


def test_a_server_without_waitaof(tmp_path: Path) -> None:
    old = shutil.which("redis-server")
    if old is None:
        pytest.skip("no redis-server on PATH (Debian: apt-get install redis-server)")
    port = free_port()
    for _ in _serve(
        redis_part.command(tmp_path, port, password=None, fsync="everysec", server=Path(old)), port, tmp_path / "log"
    ):
        told = found(settings(port))
        assert told["redis.version"].level is Level.WARNING
        assert told["redis.persistence"].level is Level.WARNING
        assert "last second" in told["redis.persistence"].text
        assert "redis.waitaof" not in told


def test_whoever_may_not_come_in(server: Redis, port: int) -> None:
    (away,) = redis_checks.examine(settings(free_port()))
    assert (away.level, away.check) == (Level.ERROR, "redis.reach")
    (refused,) = redis_checks.examine(settings(port, ledger_url=f"redis://nobody:wrong@127.0.0.1:{port}/0"))
    assert "password" in (refused.todo or "")
    assert "wrong@" not in refused.text


def test_a_user_that_may_not_write_and_a_replica(server: Redis, port: int) -> None:
    server.acl_setuser("narrow", enabled=True, nopass=True, keys=["*"], categories=["+@read", "+@connection"])
    server.execute_command("ACL", "SETUSER", "narrow", "+info", "+waitaof", "+eval", "+time")
    told = found(settings(port, ledger_url=f"redis://narrow:x@127.0.0.1:{port}/0"))
    assert told["redis.scripts"].level is Level.ERROR
    assert told["redis.eviction"].level is Level.WARNING
    server.replicaof("127.0.0.1", free_port())
    try:
        assert found(settings(port))["redis.role"].level is Level.ERROR
    finally:
        server.replicaof("NO", "ONE")


def test_replicas_that_an_answer_waits_for(server: Redis, port: int, tmp_path: Path) -> None:
    assert redis_checks.replicas(server, 0).level is Level.WARNING
    asked = settings(port, waitaof_replicas=1)
    assert found(asked)["redis.replicas"].level is Level.ERROR
    other = free_port()
    for _ in _serve(redis_command(tmp_path, other), other, tmp_path / "log"):
        with Redis(port=other, decode_responses=True) as replica:
            replica.replicaof("127.0.0.1", port)
            wait_until(lambda: replica.info("replication").get("master_link_status") == "up", what="the replica")
        told = found(asked)
        # it is enough, and none may restart
        assert told["redis.replicas"].level is Level.WARNING
        assert told["redis.waitaof"].level in (Level.OK, Level.WARNING)


def test_the_broker(server: Redis, port: int) -> None:
    assert found(settings(port, broker_url=f"{HERE}:{port}/0"))["redis.broker"].level is Level.ERROR
    assert found(settings(port, broker_url=f"{HERE}:{free_port()}/1"))["redis.broker"].level is Level.ERROR
    assert found(settings(port, broker_url="http://x"))["redis.broker"].level is Level.ERROR


def test_an_address_without_a_password() -> None:
    assert redis_checks.password(RedisSettings(ledger_url="redis://redis.studio:6379/0")).level is Level.WARNING
    assert redis_checks.password(RedisSettings(ledger_url="redis://:secret@redis.studio:6379/0")).level is Level.OK
