"""Housekeeping: the duties that beat asks for. Each may run on two io workers at once, or not for a while."""

import logging
import re
import time

from farm.claiming.permits import Permits
from farm.config import Settings
from farm.intake.garbage import InputGarbage, open_inputs
from farm.jobs.states import TERMINAL, State
from farm.ledger import Ledger
from farm.ledger.connection import connect
from farm.ledger.upkeep import FORGOTTEN_AT_ONCE
from farm.loras.garbage import LoraGarbage
from farm.loras.records import Records
from farm.storage.object_keys import result_prefix
from farm.storage.quota import Quota
from farm.storage.store import Found, Store
from monitoring.metrics import FORGOTTEN, ORPHANS, REAPED

log = logging.getLogger(__name__)

#: work of one call: what is left waits for the next
REAP_CALLS, AUDIT_CALLS = 1000, 100
FORGET_CALLS = 100
SWEEP_LIMIT, SWEEP_CALLS = 500, 10
_RESULT = re.compile(r"results/(?P<tenant>[^/]+)/(?P<job>[^/]+)/(?P<attempt>\d+)(-[^/]+)?/[^/]+")


class Housekeeping:
    """One per io worker, and one call of each duty at a time (farm.io_worker.duties). The places where audit and sweep
    went on are kept here; a new process begins anew."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store, permits: Permits) -> None:
        self._settings, self._ledger, self._store, self._permits = settings, ledger, store, permits
        self._audit_cursor: str | None = None
        self._swept_to: str | None = None
        self._input_garbage = InputGarbage(
            store, settings.scheduling.retention_s, used=lambda tenant: open_inputs(ledger, tenant)
        )
        redis = connect(settings.redis)
        self._loras = LoraGarbage(Records(redis, settings.redis), store, ledger)
        self._quota = Quota(redis, settings)

    def reap(self) -> None:
        """Expired leases, due retries, missing permits."""
        for _ in range(REAP_CALLS):
            report = self._ledger.reap()
            self._permits.publish(report.permits)
            for action in ("expired", "requeued", "failed", "cancelled", "promoted", "resumable"):
                REAPED.labels(action).inc(getattr(report, action))
            if not report.more:
                return

    def audit(self) -> None:
        """Some more of the records; from the beginning when the end was reached."""
        for _ in range(AUDIT_CALLS):
            report = self._ledger.audit(self._audit_cursor)
            for counter, wrong in report.drift.items():
                log.warning("the audit mended %d of %s", wrong, counter)
            self._audit_cursor = report.cursor
            if report.cursor is None:
                return

    def forget(self) -> int:
        """Remove jobs that ended longer ago than the retention, and all that their attempts stored."""
        # retention is days long: whose clock measures it does not matter
        before_ms = int((time.time() - self._settings.scheduling.retention_s) * 1000)
        gone = 0
        for _ in range(FORGET_CALLS):
            jobs = self._ledger.forget(before_ms)
            for job in jobs:
                # should the store be away now, the sweep finds them
                self._store.delete_prefix(result_prefix(job.tenant, job.id))
            gone += len(jobs)
            FORGOTTEN.inc(len(jobs))
            if len(jobs) < FORGOTTEN_AT_ONCE:
                break
        return gone

    def sweep(self) -> int:
        """Remove results that no job points to: of attempts that were fenced or died between upload and commit; and,
        not counted, old uploads and inputs, and deleted LoRAs."""
        gone = 0
        self._input_garbage.sweep()
        self._loras.sweep()
        for _ in range(SWEEP_CALLS):
            found = self._store.list("results/", after=self._swept_to, limit=SWEEP_LIMIT)
            orphans = self._orphans(found)
            if orphans:
                log.info("sweeping %d objects that no job points to", len(orphans))
                self._store.delete(*orphans)
                ORPHANS.inc(len(orphans))
                gone += len(orphans)
            self._swept_to = found[-1].key if len(found) == SWEEP_LIMIT else None
            if self._swept_to is None:
                break
        self._quota.measure(self._store)
        return gone

    def _orphans(self, found: list[Found]) -> list[str]:
        orphans = []
        verdicts: dict[str, bool] = {}
        for one in found:
            if match := _RESULT.fullmatch(one.key):
                folder = _folder(one.key)
                if folder not in verdicts:
                    verdicts[folder] = self._is_orphan(match["job"], int(match["attempt"]), one)
                if verdicts[folder]:
                    orphans.append(one.key)
        return orphans

    def _is_orphan(self, job_id: str, attempt: int, one: Found) -> bool:
        job = self._ledger.find(job_id)
        if job is None:
            # forgotten, or never known: a ledger that was lost must not cost the results too
            return time.time() - one.modified_s > self._settings.scheduling.retention_s
        if job.state == State.SUCCEEDED and job.artifacts is not None:
            return _folder(job.artifacts.video) != _folder(one.key)
        # the current attempt of an open job may be writing; older ones are fenced
        return job.state in TERMINAL or attempt < job.attempt


def _folder(key: str) -> str:
    return key.rpartition("/")[0]
