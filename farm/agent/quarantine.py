"""Decides whether a slot's failures are its device's fault, and waits until a quarantine is over. The record is
farm.agent.device_health; the ledger knows how the same jobs ended on other workers."""

import logging
import threading

from farm.agent.device_health import DeviceHealth, Quarantine
from farm.jobs.errors import JobFault, Unavailable
from farm.jobs.job import Job
from farm.jobs.states import State
from farm.ledger import Ledger
from monitoring.metrics import QUARANTINED

log = logging.getLogger(__name__)


class QuarantineWatch:
    """Of one agent. `worker`: its name in the ledger. Threads may share it."""

    def __init__(self, health: DeviceHealth, ledger: Ledger, worker: str) -> None:
        self._health, self._ledger, self._worker = health, ledger, worker

    def strike(self, job: Job, fault: JobFault) -> Quarantine | None:
        """A job failed on the device; the quarantine, if one begins with it. A job that had failed elsewhere says
        nothing about this device."""
        if job.failed_on not in (None, self._worker):
            return None
        self._review()
        brought = bool(job.spec.loras or job.spec.inputs)
        return self._health.strike(job.id, job.tenant, fault, brought=brought)

    def sit_out(self, ending: threading.Event, look_s: float) -> None:
        """Until no quarantine lasts, or the agent is to end. look_s: seconds between checks."""
        while (quarantine := self._health.quarantine()) and not ending.is_set():
            QUARANTINED.set(1)
            log.warning("quarantined until %s: %s", quarantine.until_iso, quarantine.reason)
            self._await_end_of(quarantine, ending, look_s)
        QUARANTINED.set(0)

    def _await_end_of(self, quarantine: Quarantine, ending: threading.Event, look_s: float) -> None:
        while self._health.quarantine() == quarantine:
            # how long it lasts is measured by a clock that may be set
            if ending.wait(look_s):
                return
            try:
                if self._ledger.forgiven(self._worker):
                    log.warning("an operator lifted the quarantine")
                    self._health.forgive()
            except Unavailable:
                continue
            self._review()

    def _review(self) -> None:
        """Acquit the device of jobs that failed on another one, too."""
        try:
            self._health.acquit([job for job in self._health.suspects if self._fails_elsewhere(job)])
        except Unavailable as error:
            log.warning("cannot check how the jobs fared on other workers: %s", error)

    def _fails_elsewhere(self, job_id: str) -> bool:
        job = self._ledger.find(job_id)
        return job is not None and job.failed_on not in (None, self._worker) and job.state != State.SUCCEEDED
