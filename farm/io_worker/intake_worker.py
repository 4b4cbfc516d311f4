"""Claims waiting jobs and has their inputs fetched, a few at a time: permits, leases and endings. What intake does to a
job is farm.io_worker.take_in."""

import logging
import threading
import time
from collections.abc import Callable

from farm.claiming.claims import Claims
from farm.claiming.leases import LeaseKeeper
from farm.claiming.permits import Permits
from farm.config import Settings
from farm.io_worker.take_in import TakeIn
from farm.jobs.errors import FaultCode, JobFault, Unavailable
from farm.jobs.job import Claim
from farm.ledger import Ledger, Permit
from farm.ledger.connection import connect
from farm.ledger.ledger import INTAKE_POOL
from farm.storage.quota import Quota
from farm.storage.store import Store
from monitoring.metrics import ATTEMPTS, PERMITS

log = logging.getLogger(__name__)

#: pause before asking again when Redis or the store is away, and how long one job is kept waiting for the store
PAUSE_S, PATIENCE_S = 0.5, 60.0


class IntakeWorker:
    """Claims jobs that wait for their inputs, and takes those in."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store, permits: Permits, worker: str) -> None:
        self._ledger, self._permits = ledger, permits
        self._take_in_job = TakeIn(settings, ledger, store, permits, quota=Quota(connect(settings.redis), settings))
        self.claims = Claims(ledger, permits, INTAKE_POOL, worker)
        # an input takes seconds at most: a cancel that comes meanwhile is heard when it ends
        self._leases = LeaseKeeper(ledger, settings.lease.seconds)
        #: jobs at once: two threads of the worker are left for what beat sends, which only begins duties
        self.places = max(1, settings.worker.io_threads - 2)
        self._lock = threading.Lock()
        self._taken = 0
        self._again = False
        self._closing = threading.Event()

    def close(self) -> None:
        """Take in nothing more; what waits for a server that is away goes back."""
        self._closing.set()

    def look(self) -> None:
        """Ask for permits for what waits. Where the broker takes none, take in without one."""
        if self.claims.wake() is False and not self._closing.is_set():
            threading.Thread(target=self.serve, args=("",), name="without-permit", daemon=True).start()

    def serve(self, permit: str) -> int:
        """One permit: work until nothing is claimable. Returns how many jobs were taken in; 0 also when every place
        is taken: the threads in those places go on until nothing is left."""
        if not self._enter():
            return 0
        done = 0
        try:
            while (claim := self.claims.claim(permit, stop=self._closing)) or not self._leave():
                permit = ""
                if claim is not None:
                    self.claims.wake()
                    self._take_in(claim)
                    done += 1
        except BaseException:
            with self._lock:
                self._taken -= 1
            raise
        PERMITS.labels(INTAKE_POOL, "used" if done else "surplus").inc()
        return done

    def _enter(self) -> bool:
        with self._lock:
            if self._taken >= self.places:
                # a thread that is about to find nothing must look again: this permit may be for a newer job
                self._again = True
                return False
            self._taken += 1
            return True

    def _leave(self) -> bool:
        """Give up the place, unless a permit was turned away meanwhile."""
        with self._lock:
            again, self._again = self._again, False
            if not again:
                self._taken -= 1
            return not again

    def _take_in(self, claim: Claim) -> None:
        lease = self._leases.hold(claim, lambda _verdict: None)
        ending = "taken_in"
        try:
            self._patiently(claim)
        except Unavailable as error:
            # neither the job's fault nor this worker's: it goes back, uncounted
            log.warning("intake of %s: %s", claim.job.id, error)
            ending = "released"
            self._end(lambda: self._ledger.release(claim.job.id, claim.attempt))
        except Exception:
            log.exception("intake of %s failed", claim.job.id)
            ending = "failed"
            fault = JobFault(FaultCode.STORAGE_FAILED, "the inputs could not be taken in")
            self._end(lambda: self._ledger.fail(claim.job.id, claim.attempt, fault))
        finally:
            lease.drop()
            ATTEMPTS.labels(INTAKE_POOL, ending).inc()

    def _patiently(self, claim: Claim) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._take_in_job.run(claim)
                return
            except Unavailable:
                if self._closing.wait(PAUSE_S) or time.monotonic() > deadline:
                    raise

    def _end(self, call: Callable[[], tuple[object, list[Permit]]]) -> None:
        try:
            _, permits = call()
        except Unavailable:
            # the lease runs out, and the reaper has it tried again
            return
        self._permits.publish(permits)
