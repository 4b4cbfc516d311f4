"""The intake desk: claims waiting jobs and has their inputs fetched, a few at a time. What intake does to a job is
farm.intake's; here are its permits and leases."""

import logging
import threading
import time
from uuid import uuid4

from farm.config import Settings
from farm.intake import job as intake_job
from farm.jobs.errors import FaultCode, JobFault, Unavailable
from farm.jobs.job import Claim
from farm.leases import LeaseKeeper
from farm.ledger import Ledger
from farm.ledger.ledger import INTAKE_POOL
from farm.permits import Permits
from farm.store import Store
from monitoring.metrics import ATTEMPTS, PERMITS

log = logging.getLogger(__name__)

#: a claim that got no answer may have happened: it is repeated under its own name
CLAIM_TRIES, CLAIM_PAUSE_S = 20, 0.5


class Desk:
    def __init__(self, settings: Settings, ledger: Ledger, store: Store, permits: Permits, worker: str) -> None:
        self._settings, self._ledger, self._store, self._permits = settings, ledger, store, permits
        self._worker = worker
        # an input takes seconds at most: a cancel that comes meanwhile is heard when it ends
        self._leases = LeaseKeeper(ledger, settings.lease.seconds, notice_s=settings.lease.seconds)
        #: jobs at once: two threads of the worker are left for what beat sends
        self.places = max(1, settings.worker.io_threads - 2)
        self._lock = threading.Lock()
        self._taken = 0
        self._again = False

    def serve(self, permit: str) -> int:
        """One permit: work until nothing is claimable. Returns how many jobs were taken in; 0 also when every place
        is taken, because those who sit there go on until nothing is left."""
        if not self._enter():
            return 0
        done = 0
        while True:
            claim = self._claim(permit)
            permit = ""
            if claim is not None:
                self._wake(INTAKE_POOL)
                self._take_in(claim)
                done += 1
            elif self._leave():
                PERMITS.labels(INTAKE_POOL, "used" if done else "surplus").inc()
                return done

    def _enter(self) -> bool:
        with self._lock:
            if self._taken >= self.places:
                # whoever is about to find nothing must look again: this permit may be for a newer job
                self._again = True
                return False
            self._taken += 1
            return True

    def _leave(self) -> bool:
        """Give the place up, unless somebody was turned away meanwhile."""
        with self._lock:
            again, self._again = self._again, False
            if not again:
                self._taken -= 1
            return not again

    def _claim(self, permit: str) -> Claim | None:
        nonce = uuid4().hex
        for _ in range(CLAIM_TRIES):
            try:
                return self._ledger.claim(INTAKE_POOL, self._worker, permit=permit, nonce=nonce)
            except Unavailable:
                time.sleep(CLAIM_PAUSE_S)  # Redis says nothing when it is back
        return None

    def _take_in(self, claim: Claim) -> None:
        lease = self._leases.hold(claim, lambda _verdict: None)
        ending = "taken_in"
        try:
            intake_job.run(claim, self._ledger, self._store, self._settings, self._permits)
        except Unavailable as error:
            # the lease runs out and the reaper has it tried again
            log.warning("intake of %s: %s", claim.job.id, error)
            ending = "unavailable"
        except Exception:
            log.exception("intake of %s failed", claim.job.id)
            ending = "failed"
            self._fail(claim)
        finally:
            lease.drop()
            ATTEMPTS.labels(INTAKE_POOL, ending).inc()
        self._wake(claim.job.pool)

    def _fail(self, claim: Claim) -> None:
        fault = JobFault(FaultCode.STORAGE_FAILED, "the inputs could not be taken in")
        try:
            _, permits = self._ledger.fail(claim.job.id, claim.attempt, fault)
        except Unavailable:
            return
        self._permits.publish(permits)

    def _wake(self, pool: str) -> None:
        try:
            self._permits.publish(self._ledger.permits_wanted(pool))
        except Unavailable as error:
            log.warning("no permits for %s: %s", pool, error)
