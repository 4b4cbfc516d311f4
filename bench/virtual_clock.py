"""A clock that a simulation moves: the real scripts of the ledger run on it, on a real server.

What expires by a TTL of Redis (idempotency keys, the memory of claims) still does so in real time.
"""

from redis import Redis


class VirtualClock:
    """`Ledger(redis, settings, clock=clock.lua)` reads this clock instead of the server's. It stands still until it is
    moved, and is one for every process on the same Redis and prefix."""

    def __init__(self, redis: Redis, prefix: str, start_ms: int = 1_000_000_000_000) -> None:
        """`redis` may be any client of the same database."""
        self._redis, self._key = redis, f"{prefix}:virtual-now"
        self._redis.set(self._key, start_ms)

    @property
    def lua(self) -> str:
        """In place of farm/ledger/lua/lib/clock.lua."""
        return f"local NOW = tonumber(redis.call('GET', '{self._key}'))\n"

    @property
    def now_ms(self) -> int:
        return int(str(self._redis.get(self._key)))

    def move(self, seconds: float) -> None:
        """Forward, or back."""
        self._redis.incrby(self._key, round(seconds * 1000))
