"""A Redis of one test's own, to freeze and to fill."""

from contextlib import suppress
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError


@dataclass
class SpareRedis:
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        return Redis.from_url(self.url, decode_responses=True)


def answers(port: int) -> bool:
    with Redis(port=port) as redis, suppress(RedisError):
        return bool(redis.ping())
    return False
