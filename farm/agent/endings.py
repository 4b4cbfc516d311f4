"""Reports to the ledger how an attempt ended without a result, and publishes the permits that follow."""

import logging
from collections.abc import Callable

from farm.agent.attempt_context import AttemptContext
from farm.agent.out_of_service import OwnTrouble
from farm.claiming import retry
from farm.jobs.errors import FaultCode, JobFault, Unavailable
from farm.jobs.job import Claim
from farm.ledger import Permit

log = logging.getLogger(__name__)


class Endings:
    """Of one attempt. Calls repeat until Redis answers. Each returns the ending's name, a label of metrics and logs."""

    def __init__(self, claim: Claim, context: AttemptContext, gpu_s: Callable[[], float]) -> None:
        """`gpu_s()`: seconds that the device has worked for this attempt."""
        self._claim, self._context, self._gpu_s = claim, context, gpu_s
        self._render_id = f"{claim.job.id}:{claim.attempt}"

    def failed(self, fault: JobFault) -> str:
        """The attempt failed with `fault`; the ledger decides about a retry."""
        log.info("%s: %s", self._render_id, fault)
        job = self._claim.job.id
        self._tell(lambda: self._context.ledger.fail(job, self._claim.attempt, fault, gpu_s=self._gpu_s()))
        return str(fault.code)

    def released(self) -> str:
        """The attempt goes back to the queue, uncounted."""
        self._tell(lambda: self._context.ledger.release(self._claim.job.id, self._claim.attempt))
        return "released"

    def troubled(self, trouble: OwnTrouble) -> str:
        """The worker itself could not go on: back to the queue, uncounted, unless the job caused it."""
        job = self._claim.job
        if not self._context.troubled(job, trouble):
            return self.failed(JobFault(FaultCode.STORAGE_FAILED, "the worker's disk did not hold this job"))
        self._tell(lambda: self._context.ledger.release(job.id, self._claim.attempt, gpu_s=self._gpu_s()))
        return "released"

    def never_started(self) -> str:
        """The attempt goes back before it began. Asks Redis once: unanswered, the lease runs out."""
        try:
            _, permits = self._context.ledger.release(self._claim.job.id, self._claim.attempt)
            self._context.permits.publish(permits)
        except Unavailable as error:
            log.warning("%s: its lease runs out: %s", self._render_id, error)
        return "released"

    def _tell(self, call: Callable[[], tuple[object, list[Permit]]]) -> None:
        _, permits = retry.redis(call)
        self._context.permits.publish(permits)
