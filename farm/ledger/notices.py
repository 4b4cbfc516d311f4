"""What a worker is told between its heartbeats: ids of jobs that it should ask about at once (lua/lib/notify.lua). A
notice may be lost; the next heartbeat hears the same."""

from redis import Redis

from farm.ledger.connection import HEALTH_CHECK_S, LISTENING_CHECK_S, mapped
from farm.ledger.scripts import Scripted


class Notices:
    """One worker's notices. One thread waits for them, and closes."""

    def __init__(self, redis: Redis, channel: str) -> None:
        self._messages = redis.pubsub(ignore_subscribe_messages=True)
        self._channel = channel

    def wait(self, timeout_s: float) -> str | None:
        """The id of a job to ask about, or None after timeout_s at the latest. Raises Unavailable."""
        with mapped():
            if not self._messages.subscribed:
                self._messages.subscribe(self._channel)
                self._check_every(LISTENING_CHECK_S)
            message = self._messages.get_message(timeout=timeout_s)
        return None if message is None else str(message["data"])

    def close(self) -> None:
        """Give up the connection; the next wait makes another."""
        self._check_every(HEALTH_CHECK_S)
        self._messages.close()

    def _check_every(self, seconds: int) -> None:
        """How often the connection is checked; it is the pool's again when it is closed."""
        if self._messages.connection is not None:
            self._messages.connection.health_check_interval = seconds


class Noticing(Scripted):
    """Opens what a worker listens to."""

    def notices(self, worker: str) -> Notices:
        """The way to what this worker is told. Connects at the first wait."""
        return Notices(self._redis, self._keys("notices", worker))
