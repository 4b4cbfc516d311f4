"""The postman: from the outbox to deliveries, from deliveries to receivers. One per io worker; beat makes it look.

A look only hands out work and returns. Posts run in threads of the postman's own, each of which takes the next due
delivery when it is done; so a slow receiver holds a few threads and never the beat.
"""

import logging
import os
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from redis import Redis

from farm.config import Settings
from farm.guard import Guard
from farm.guard.names import target
from farm.jobs.errors import AddressRefused, RequestError, Unavailable
from farm.ledger import Ledger
from farm.ledger.outcomes import OutboxEntry
from farm.storage.store import Store
from farm.tenants.vault import Vault
from farm.webhooks.deliveries import Deliveries, Delivery, message_id
from farm.webhooks.message import Messages
from farm.webhooks.policy import Outcome, next_pause_s, outcome_of, policy_of
from farm.wire.error_table import retry_after_s
from monitoring.metrics import WEBHOOKS

log = logging.getLogger(__name__)

#: outbox entries read at once, and how often in one look
_BATCH, _BATCHES = 100, 20
#: on top of the receiver's time, before a delivery counts as abandoned by a dead process
_LEASE_SLACK_S = 20.0


class Postman:
    """`guard` decides what may be dialled; the others are the farm's own parts. Threads may share one."""

    def __init__(
        self, settings: Settings, redis: Redis, ledger: Ledger, store: Store, guard: Guard | None = None
    ) -> None:
        self._settings = settings.webhooks
        self._ledger = ledger
        self._guard = guard or Guard(settings.intake)
        self._messages = Messages(settings, ledger, store, Vault(redis, settings))
        self.deliveries = Deliveries(redis, settings)
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
        self._pool = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="webhook")
        self._lock = threading.Lock()
        self._busy = 0
        self._busy_suspects = 0

    def look(self) -> int:
        """Schedule what the outbox has, and start what is due. Returns how many posts were started."""
        self._empty_outbox()
        started = 0
        while True:
            with self._lock:
                free = self._settings.threads - self._busy
                deliveries = self._take(free)
            for number, delivery in enumerate(deliveries):
                try:
                    self._pool.submit(self._work, delivery)
                except BaseException:
                    # closed, or no thread can be started: their leases run out, and they are taken again
                    for unposted in deliveries[number:]:
                        self._done(unposted)
                    raise
            started += len(deliveries)
            if not deliveries:
                return started

    def close(self) -> None:
        """Wait for the posts under way; what is not begun stays due."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, count: int) -> list[Delivery]:
        """Due deliveries, counted as busy from here on. The lock is held."""
        suspects = max(self._settings.threads // 2, 1) - self._busy_suspects
        taken = self.deliveries.take(count, suspects=suspects, lease_s=self._settings.timeout_s + _LEASE_SLACK_S)
        self._busy += len(taken)
        self._busy_suspects += sum(d.suspect for d in taken)
        return taken

    def _empty_outbox(self) -> None:
        for _ in range(_BATCHES):
            entries = self._ledger.outbox_read(self._name, count=_BATCH)
            for entry in entries:
                self._schedule(entry)
            self._ledger.outbox_ack([entry.id for entry in entries])
            if len(entries) < _BATCH:
                return

    def _schedule(self, entry: OutboxEntry) -> None:
        job = self._ledger.find(entry.job)
        if job is None or job.webhook_url is None:
            return
        try:
            origin = target(job.webhook_url).authority
        except AddressRefused:
            # the URL was checked when the job came in; one that cannot be parsed now reaches no receiver
            origin = "unreadable"
        self.deliveries.schedule(
            message_id(job.id),
            job=job.id,
            tenant=job.tenant,
            url=job.webhook_url,
            dialect=job.dialect,
            receiver=f"{job.tenant}|{origin}",
        )

    def _work(self, delivery: Delivery | None) -> None:
        while delivery is not None:
            try:
                self._attempt(delivery)
            except Exception as error:  # noqa: BLE001 - a place that is not given back is lost for good
                # its lease runs out, and it is taken again
                log.warning("delivery %s: %s: %s", delivery.id, type(error).__name__, error)
            finally:
                self._done(delivery)
            with self._lock:
                delivery = self._next()

    def _attempt(self, delivery: Delivery) -> None:
        try:
            self._deliver(delivery)
        except Unavailable:
            raise
        except Exception:
            log.exception("delivery %s", delivery.id)
            self._settle(delivery, Outcome.FAILED, 0, "an error inside the farm", None)

    def _done(self, delivery: Delivery) -> None:
        """Its place is free again."""
        with self._lock:
            self._busy -= 1
            self._busy_suspects -= delivery.suspect

    def _next(self) -> Delivery | None:
        try:
            return next(iter(self._take(1)), None)
        except Exception as error:  # noqa: BLE001 - the next look takes it
            log.warning("no next delivery: %s", error)
            return None

    def _deliver(self, delivery: Delivery) -> None:
        job = self._ledger.find(delivery.job)
        if job is None:
            self._bury(delivery, 0, "the job is no longer kept")
            return
        message = self._messages.of(job, delivery.id)
        status, error, wait_s, outcome = 0, "", None, Outcome.FAILED
        try:
            answer = self._guard.post(delivery.url, message.body, message.headers, seconds=self._settings.timeout_s)
        except AddressRefused as refused:
            error, outcome = str(refused), Outcome.HOPELESS
        except RequestError as failed:
            error = str(failed)
        else:
            status, outcome = answer.status, outcome_of(answer.status)
            error = "" if outcome is Outcome.DELIVERED else f"the receiver answered {status}"
            if "retry-after" in answer.headers:
                wait_s = retry_after_s(answer.headers, 0.0)
        self._settle(delivery, outcome, status, error, wait_s)

    def _settle(self, delivery: Delivery, outcome: Outcome, status: int, error: str, wait_s: float | None) -> None:
        if outcome is Outcome.DELIVERED:
            self.deliveries.delivered(delivery.id)
            WEBHOOKS.labels(delivery.dialect, "delivered").inc()
            return
        pause_s = None
        if outcome is Outcome.FAILED:
            pause_s = next_pause_s(
                policy_of(delivery.dialect, self._settings),
                attempts=delivery.attempts + 1,
                elapsed_s=(delivery.taken_ms - delivery.first_ms) / 1000,
                chance=random.random(),  # noqa: S311 - spreads retries, guards nothing
                retry_after_s=wait_s,
            )
        if pause_s is None:
            self._bury(delivery, status, error)
            return
        self.deliveries.retry(delivery.id, status=status, error=error, pause_s=pause_s)
        WEBHOOKS.labels(delivery.dialect, "failed").inc()

    def _bury(self, delivery: Delivery, status: int, error: str) -> None:
        self.deliveries.bury(delivery.id, status=status, error=error)
        WEBHOOKS.labels(delivery.dialect, "dead").inc()
        log.warning("delivery %s to %s given up: %s", delivery.id, delivery.receiver, error)
