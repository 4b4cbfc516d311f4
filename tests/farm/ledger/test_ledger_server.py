"""What a process says of the server that it found."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis
from waitaof_proxy import WaitAof

from farm.config import RedisSettings
from farm.ledger.connection import connect
from farm.ledger.server import Server, UnsafeServer, look, say


@pytest.fixture
def proxy(redis_port: int) -> Iterator[WaitAof]:
    proxy = WaitAof(redis_port)
    yield proxy
    proxy.close()


@contextmanager
def configured(redis: Redis, name: str, value: str) -> Iterator[None]:
    """The server with another setting, for as long as that."""
    before = redis.config_get(name)[name]
    redis.config_set(name, value)
    try:
        yield
    finally:
        redis.config_set(name, before)


def settings_of(port: int, *, waitaof: bool = True) -> RedisSettings:
    return RedisSettings(ledger_url=f"redis://127.0.0.1:{port}/0", waitaof=waitaof)


def told(settings: RedisSettings, caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    with caplog.at_level(logging.INFO), connect(settings) as client:
        say(client, settings)
    return caplog.text


def test_the_server_of_the_tests_is_known_by_name(redis: Redis, redis_settings: RedisSettings) -> None:
    info = redis.info("server")
    with connect(redis_settings) as client:
        server = look(client)
    name = ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info["redis_version"])
    assert (server.name, server.version) == name
    assert (server.appendonly, server.fsync, server.eviction) == (True, "everysec", "noeviction")


def test_what_an_answer_is_worth_is_said(proxy: WaitAof, redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    assert "which some servers say up to a second early" in told(settings_of(proxy.port), caplog)
    with configured(redis, "appendfsync", "always"):
        assert "an answer is given when its write is on disk" in told(settings_of(proxy.port), caplog)
    assert "may lose the last second" in told(settings_of(proxy.port, waitaof=False), caplog)
    proxy.known = False
    assert "it has no WAITAOF: a crash of its machine may lose the last second" in told(settings_of(proxy.port), caplog)
    with configured(redis, "maxmemory-policy", "allkeys-lru"):
        assert "set maxmemory-policy noeviction" in told(settings_of(proxy.port), caplog)


def test_one_that_never_syncs_ends_the_start(proxy: WaitAof, redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    with configured(redis, "appendfsync", "no"):
        with pytest.raises(UnsafeServer, match="CONFIG SET appendfsync always"):
            told(settings_of(proxy.port), caplog)
        assert "half a minute" in told(settings_of(proxy.port, waitaof=False), caplog)


def test_one_that_keeps_nothing_is_warned_of() -> None:
    server = Server("Redis", "7.4.0", waits=False, appendonly=False, fsync="everysec")
    assert "restart of it loses every job" in server.meaning(waitaof=True)
    assert server.refusal(waitaof=True) is None


def test_one_that_does_not_tell_its_configuration_is_taken(redis_port: int, caplog: pytest.LogCaptureFixture) -> None:
    with Redis(port=redis_port) as admin:
        admin.execute_command("ACL", "SETUSER", "guest", "on", ">word", "~*", "&*", "+@all", "-config")
        try:
            url = f"redis://guest:word@127.0.0.1:{redis_port}/0"
            assert "does not tell its appendfsync" in told(RedisSettings(ledger_url=url, waitaof=False), caplog)
            with connect(RedisSettings(ledger_url=url)) as client:
                assert look(client).fsync is None
        finally:
            admin.execute_command("ACL", "DELUSER", "guest")


def test_one_that_is_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        assert "not there yet" in told(settings_of(nobody.getsockname()[1]), caplog)
