"""A primary behind a name: the server that it stood for is demoted and goes on answering, and the name moves."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from own_redis import redis_command
from redis import Redis
from redis.exceptions import RedisError, TimeoutError

from farm.claiming.permits import Permits
from farm.config import RedisSettings, Settings
from farm.embedded.ports import free_port
from farm.jobs.errors import Unavailable
from farm.ledger import Ledger, Permit, connect
from tests.conftest import wait_until


class Name:
    """A door that leads to `port`; those who have gone through stay where they are."""

    def __init__(self, port: int) -> None:
        self.port_behind = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._door.accept()
            far = socket.create_connection(("127.0.0.1", self.port_behind))
            for source, to in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, to), daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
        for end in (source, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[int, int]]:
    ports, processes = (free_port(), free_port()), list[subprocess.Popen[bytes]]()
    for port in ports:
        (tmp_path / str(port)).mkdir()
        processes.append(subprocess.Popen(redis_command(tmp_path / str(port), port), stdout=subprocess.DEVNULL))
    try:
        for port in ports:
            wait_until(lambda port=port: _answers(port), what=f"Redis on {port}")
        with Redis(port=ports[1]) as replica:
            replica.replicaof("127.0.0.1", ports[0])
            wait_until(lambda: replica.info("replication")["master_link_status"] == "up", what="the replica")
        yield ports
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with Redis(port=port) as redis, suppress(RedisError):
        return bool(redis.ping())
    return False


def test_ledger_and_permits_follow_the_name(servers: tuple[int, int]) -> None:
    old, new = servers
    name = Name(old)
    base = f"redis://127.0.0.1:{name.port}"
    settings = Settings(redis=RedisSettings(ledger_url=f"{base}/0", broker_url=f"{base}/1", waitaof_replicas=0))
    ledger, permits = Ledger(connect(settings.redis), settings), Permits(settings)
    ledger.topup("acme", 5, reference="a")
    assert permits.publish([Permit("1", "gpu")]) == 1
    with Redis(port=new) as promoted, Redis(port=old) as demoted:
        wait_until(lambda: promoted.exists("wf:credit:acme"), what="the replica to have it")
        promoted.replicaof("NO", "ONE")
        demoted.replicaof("127.0.0.1", new)
    name.port_behind = new
    # the connections that they have lead to the demoted one
    with pytest.raises(Unavailable):
        ledger.topup("acme", 5, reference="b")
    assert permits.publish([Permit("2", "gpu")]) == 1
    assert ledger.topup("acme", 5, reference="b").balance == 10
    assert permits.publish([Permit("3", "gpu")]) == 1
    with Redis(port=new, db=1) as broker:
        assert broker.llen("wf:celery:pool.gpu") >= 2, "what came after the name moved"


@pytest.fixture
def slow_primary(redis: Redis, redis_port: int, monkeypatch: pytest.MonkeyPatch) -> Redis:
    """A client of a primary that Sentinels name; an answer has 0.2 s."""
    monkeypatch.setattr("redis.sentinel.Sentinel.discover_master", lambda *_: ("127.0.0.1", redis_port))
    settings = RedisSettings(
        ledger_url="redis://nobody.invalid/0", sentinels=("nobody.invalid:1",), socket_timeout_s=0.2
    )
    return connect(settings)


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_calls(slow_primary: Redis, redis: Redis) -> None:
    redis.mset({"one": "the first", "two": "the second"})
    assert slow_primary.get("one") == "the first"
    redis.client_pause(1000, all=True)
    with pytest.raises(TimeoutError):
        slow_primary.get("one")
    found = None
    while found is None:
        with suppress(TimeoutError):
            found = slow_primary.get("two")
    assert found == "the second"
