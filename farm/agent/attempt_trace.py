"""What an attempt tells of itself to the job's trace: how long the job was queued, each phase, the whole."""

import time

from farm import tracing
from farm.jobs.job import Claim
from farm.jobs.states import Phase


class AttemptTrace:
    """One attempt's. Phases come in the order in which they are entered; encoding may go on beside the next render."""

    def __init__(self, claim: Claim) -> None:
        job = claim.job
        self._job, self._attempt, self._lane = job.id, int(claim.attempt), job.lane
        self._began = self._since = time.time_ns()
        self._phase = Phase.ASSIGNED
        if job.queued_ms is not None:
            # since when it waits is the ledger's word, on its clock
            tracing.span(job.id, "queue", job.queued_ms * 1_000_000, self._began, pool=job.pool, attempt=self._attempt)

    def entered(self, phase: Phase) -> None:
        """The attempt is in a phase; the one before is over when it is another."""
        if phase is not self._phase:
            self._close()
            self._phase = phase

    def ended(self, ending: str) -> None:
        """Nothing more comes."""
        self._close()
        tracing.span(
            self._job, "attempt", self._began, self._since, attempt=self._attempt, ending=ending, lane=self._lane
        )

    def _close(self) -> None:
        now = time.time_ns()
        tracing.span(self._job, self._phase.value, self._since, now, attempt=self._attempt)
        self._since = now
