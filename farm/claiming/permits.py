"""Publishes permits: messages that wake workers to claim. The ledger decides how many.

A permit may be lost (the reaper asks for another) or published twice (the second finds nothing), so a failure is
counted and forgotten: by then the ledger has the job.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from kombu.exceptions import LimitExceeded, OperationalError
from redis.exceptions import ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from farm.claiming.celery_app import PERMIT_TASK, make_app, pool_queue
from farm.config import Settings
from farm.ledger.outcomes import Permit
from monitoring.metrics import PERMITS

log = logging.getLogger(__name__)

#: with a silent broker. A request waits for this, and the job is safe already
PATIENCE_S = 1.5


class Permits:
    """The way from a ledger call to the workers' queues. One per process; any thread may publish."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._app = make_app(settings, "permits", patience_s=PATIENCE_S)
        self._quiet_until = 0.0

    def publish(self, permits: Sequence[Permit]) -> int:
        """How many were handed to the broker. Never raises, and takes a socket timeout or two at the worst."""
        if not permits:
            return 0
        if self._clock() < self._quiet_until:
            self._count_lost(permits)
            return 0
        sent = 0
        try:
            with self._app.producer_pool.acquire(block=True, timeout=PATIENCE_S) as producer:
                for permit in permits:
                    self._send(permit, producer)
                    sent += 1
        except Exception as error:  # noqa: BLE001 - whatever the broker does, the caller's job is safe in the ledger
            if _silent(error):
                # a silent broker costs every caller its timeouts: be silent too for as long
                self._quiet_until = self._clock() + PATIENCE_S
            self._count_lost(permits[sent:])
            log.warning("could not publish %d permits: %s: %s", len(permits) - sent, type(error).__name__, error)
        return sent

    def _send(self, permit: Permit, producer: Any) -> None:
        def send() -> None:
            self._app.send_task(
                PERMIT_TASK,
                args=[permit.pool, permit.id],
                queue=pool_queue(permit.pool),
                producer=producer,
                retry=False,
                ignore_result=True,
            )

        try:
            send()
        except (OperationalError, OSError) as error:
            if _silent(error):
                raise
            if _caused_by(error, ReadOnlyError):
                # a primary no more: the next connection is made to whoever its name stands for by then
                producer.channel.pool.disconnect()
            # a pooled connection from before a broker restart fails at once; a fresh one will do
            send()
        PERMITS.labels(permit.pool, "published").inc()

    def _count_lost(self, permits: Sequence[Permit]) -> None:
        for permit in permits:
            PERMITS.labels(permit.pool, "failed").inc()


def _silent(error: BaseException) -> bool:
    """Whether a timeout is behind it: nothing answers, while an absent broker refuses at once."""
    return _caused_by(error, TimeoutError, RedisTimeoutError, LimitExceeded)


def _caused_by(error: BaseException, *kinds: type[BaseException]) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, kinds):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
