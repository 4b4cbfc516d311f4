"""Claiming, shared by every process: claims repeated under one nonce, and permits that wake the next worker."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from uuid import uuid4

from farm.claiming.permits import Permits
from farm.jobs.errors import Unavailable
from farm.jobs.job import Claim
from farm.ledger import Ledger
from farm.scheduling.memory_fit import Memory

log = logging.getLogger(__name__)

#: a claim that got no answer may have happened: it is repeated under its nonce for this long
PATIENCE_S, PAUSE_S = 15.0, 0.25


class Claims:
    """One worker's claims in one pool. Threads may share it."""

    def __init__(self, ledger: Ledger, permits: Permits, pool: str, worker: str) -> None:
        self._ledger, self._permits = ledger, permits
        self.pool, self.worker = pool, worker

    def claim(
        self,
        permit: str,
        *,
        loaded: Callable[[], str | None] = lambda: None,
        memory: Memory | None = None,
        models: Sequence[str] | None = None,
        stop: threading.Event | None = None,
    ) -> Claim | None:
        """As Ledger.claim, and None also when the ledger was away for PATIENCE_S, or from the moment that `stop` is
        set. `loaded` is asked anew for each try."""
        nonce, deadline = uuid4().hex, time.monotonic() + PATIENCE_S
        stop = stop or threading.Event()
        while not stop.is_set():
            try:
                return self._ledger.claim(
                    self.pool,
                    self.worker,
                    loaded=loaded(),
                    permit=permit,
                    nonce=nonce,
                    memory=memory,
                    models=models,
                    # a try that is held in some buffer does not run after this worker has gone on
                    patience_s=max(0.0, deadline - time.monotonic()),
                )
            except Unavailable as error:
                if time.monotonic() > deadline:
                    log.warning("no claim: %s", error)
                    return None
                stop.wait(PAUSE_S)  # Redis says nothing when it is back
        return None

    def wake(self, *, heard_none: bool = False) -> bool | None:
        """Publish the permits that the ledger asks for: a backlog wakes the next worker, or this one again.
        heard_none: no permit reached this worker for as long as one lives, although jobs wait. Answers
        whether the broker took them all; None where none was asked for."""
        try:
            wanted = self._ledger.permits_wanted(self.pool, heard_none=heard_none)
        except Unavailable as error:
            log.warning("no permits for %s: %s", self.pool, error)
            return None
        return self._permits.publish(wanted) == len(wanted) if wanted else None

    def may_prefetch(self) -> bool:
        """Whether a job could be claimed now that no other worker of the pool idles for. False while Redis is away."""
        try:
            return self._ledger.may_prefetch(self.pool, self.worker)
        except Unavailable:
            return False

    def backlog(self) -> bool:
        """Whether a job could be claimed now. False while Redis is away."""
        try:
            return self._ledger.claimable(self.pool, most=1) > 0
        except Unavailable:
            return False
