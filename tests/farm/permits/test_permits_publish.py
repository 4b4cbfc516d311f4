"""Permits over a real broker: they arrive, and nothing that a broker does makes publishing raise."""

import base64
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from own_redis import redis_command
from redis import Redis
from redis.exceptions import RedisError

from farm.claiming.permits import PATIENCE_S, Permits
from farm.config import RedisSettings, Settings
from farm.embedded.ports import free_port
from farm.ledger import Permit
from monitoring.metrics import PERMITS
from tests.conftest import wait_until
from tests.e2e.blackhole import BlackHole


def settings_on(port: int) -> Settings:
    return Settings(redis=RedisSettings(broker_url=f"redis://127.0.0.1:{port}/1", prefix="permits"))


def queued(port: int, pool: str = "gpu") -> list[list[str]]:
    """[pool, permit] of every message that waits."""
    with Redis(port=port, db=1) as broker:
        raw = broker.lrange(f"permits:celery:pool.{pool}", 0, -1)
    return [json.loads(base64.b64decode(json.loads(one)["body"]))[0] for one in raw]


def failed() -> float:
    return PERMITS.labels("gpu", "failed")._value.get()


@pytest.fixture
def broker(redis_port: int) -> int:
    with Redis(port=redis_port) as client:
        client.flushall()
    return redis_port


def test_a_permit_is_a_small_json_message_on_the_pools_queue(broker: int) -> None:
    assert Permits(settings_on(broker)).publish([Permit("1", "gpu"), Permit("2", "gpu"), Permit("3", "intake")]) == 3
    assert sorted(queued(broker)) == [["gpu", "1"], ["gpu", "2"]]
    assert queued(broker, "intake") == [["intake", "3"]]


def test_many_threads_publish_at_once(broker: int) -> None:
    permits = Permits(settings_on(broker))
    threads = [threading.Thread(target=permits.publish, args=([Permit(str(n), "gpu")],)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(queued(broker)) == 40


def test_no_broker_is_no_error() -> None:
    before = failed()
    assert Permits(settings_on(free_port())).publish([Permit("1", "gpu")] * 2) == 0
    assert failed() == before + 2


def test_a_restarted_broker_takes_the_very_next_permit(tmp_path: Path) -> None:
    port = free_port()

    def start() -> subprocess.Popen[bytes]:
        server = subprocess.Popen(redis_command(tmp_path, port), stdout=subprocess.DEVNULL)
        wait_until(lambda: answers(port), what="Redis")
        return server

    server = start()
    try:
        permits = Permits(settings_on(port))
        assert permits.publish([Permit("1", "gpu")]) == 1
        server.kill()
        server.wait()
        assert permits.publish([Permit("2", "gpu")]) == 0
        server = start()
        assert permits.publish([Permit("3", "gpu")]) == 1
        # the first may be lost: Redis puts off a write while a sync is under way, and was killed
        assert [one for one in queued(port) if one != ["gpu", "1"]] == [["gpu", "3"]]
    finally:
        server.kill()
        server.wait()


def test_a_silent_broker_is_given_up_soon_and_left_alone(broker: int) -> None:
    now = 1000.0
    with BlackHole(broker) as proxy:
        permits = Permits(settings_on(proxy.port), clock=lambda: now)
        assert permits.publish([Permit("1", "gpu")]) == 1
        proxy.swallow()
        assert permits.publish([Permit("2", "gpu")]) == 0
        # nobody waits for its timeouts again and again
        dialled = proxy.dialled
        assert permits.publish([Permit("3", "gpu")]) == 0
        assert proxy.dialled == dialled
        proxy.heal()
        now += 2 * PATIENCE_S
        assert permits.publish([Permit("4", "gpu")]) == 1
        assert ["gpu", "4"] in queued(broker)


def test_a_frozen_broker_raises_nothing(tmp_path: Path) -> None:
    port = free_port()
    server = subprocess.Popen(redis_command(tmp_path, port), stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port), what="Redis")
        permits = Permits(settings_on(port))
        os.kill(server.pid, signal.SIGSTOP)
        assert permits.publish([Permit("1", "gpu")]) == 0
        os.kill(server.pid, signal.SIGCONT)
        wait_until(lambda: permits.publish([Permit("2", "gpu")]) == 1, what="publishing again")
    finally:
        server.kill()
        server.wait()


def answers(port: int) -> bool:
    try:
        with Redis(port=port) as client:
            return bool(client.ping())
    except RedisError:
        return False
