"""A ledger on the tests' Redis."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ledger_parts import ByNumber
from own_redis import redis_command
from redis import Redis
from spare_redis import SpareRedis, answers

from farm.config import RedisSettings, Settings
from farm.embedded.ports import free_port
from farm.ledger import Ledger
from tests.conftest import wait_until


@pytest.fixture
def ledger_settings(redis_settings: RedisSettings) -> Settings:
    return Settings(redis=redis_settings)


@pytest.fixture
def ledger(redis: Redis, ledger_settings: Settings) -> Ledger:
    return ByNumber(redis, ledger_settings)


@pytest.fixture
def spare_redis(tmp_path: Path) -> Iterator[Callable[..., SpareRedis]]:
    """`spare_redis("--maxmemory", "8mb")` starts one with these arguments besides the farm's own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> SpareRedis:
        folder, port = tmp_path / f"redis-{len(started)}", free_port()
        command = [*redis_command(folder, port), *arguments]
        with (tmp_path / "redis.log").open("ab") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        wait_until(lambda: answers(port), what=f"a Redis on port {port}")
        return SpareRedis(port, started[-1].pid)

    yield start
    for process in started:
        process.kill()
        process.wait()
