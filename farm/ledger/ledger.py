"""The Ledger: one method per transition, each one Lua script.

`redis` is a redis-py client with decode_responses=True. Every call may raise farm.jobs.errors.Unavailable when
Redis is away: the transition then *may* have happened, and repeating the call is safe.
"""

from collections.abc import Collection, Sequence
from uuid import uuid4

from farm.jobs.errors import JobFault
from farm.jobs.job import Admitted, Artifacts, Claim, Fence, NewJob, Reshaped
from farm.jobs.spec import InputRef
from farm.jobs.states import HoldReason
from farm.ledger.accounts import Accounts
from farm.ledger.acts import Acts
from farm.ledger.batches import BatchTransitions
from farm.ledger.burst_notes import BurstNotes
from farm.ledger.connection import mapped
from farm.ledger.explaining import Explaining
from farm.ledger.farm_numbers import FarmNumbersReading
from farm.ledger.forecasts import Forecasts
from farm.ledger.job_lines import JobLines
from farm.ledger.lane_numbers import LaneReading
from farm.ledger.notices import Noticing
from farm.ledger.operations import Operations
from farm.ledger.outbox import Outbox
from farm.ledger.outcomes import (
    Beat,
    BeatAnswer,
    CancelOutcome,
    CommitOutcome,
    FailOutcome,
    HoldOutcome,
    Permit,
    PresenceBeat,
    Verdict,
)
from farm.ledger.purchases import Purchases
from farm.ledger.reading import Reading
from farm.ledger.records import admission, artifacts_json, decode, fresh, reshaping, with_inputs
from farm.ledger.refusals import refusal
from farm.ledger.scripts import BURST_POOL, INTAKE_POOL
from farm.ledger.upkeep import Upkeep
from farm.ledger.workforce import Workforce, permits
from farm.scheduling.memory_fit import Memory

__all__ = ["BURST_POOL", "INTAKE_POOL", "Ledger"]

#: as `models` of claim: a word that is no model's
NOTHING_OFFERED = "-"
#: characters of a fault's message that are kept
_MESSAGE_CHARS = 1000


class Ledger(
    BurstNotes,
    Reading,
    Upkeep,
    Workforce,
    Noticing,
    Accounts,
    Outbox,
    Purchases,
    Operations,
    Explaining,
    Forecasts,
    BatchTransitions,
    Acts,
    FarmNumbersReading,
    LaneReading,
    JobLines,
):
    """Threads may share one. Reading, upkeep, workers, credit, outbox and operators' acts are in the modules of the
    base classes; here is the life of a job, in order."""

    def admit(self, jobs: Sequence[NewJob]) -> tuple[list[Admitted], list[Permit]]:
        """All or nothing. A job whose spec needs intake starts `waiting`, any other `queued`.

        Raises Conflict (idempotency key seen with another body), TooMany (open-job limit of the tenant),
        PaymentRequired (holds do not fit the tenant's credit), Forbidden (its room in the store is full), Unavailable.
        """
        if not jobs:
            return [], []
        arguments = [argument for job in jobs for argument in admission(job)]
        verdict, *details = self.run_in_time("admit", len(jobs), *arguments, patience_s=self._in_time_s, durable=True)
        if verdict != "ok":
            raise refusal(verdict, details)
        answers, wanted, now_ms = details
        told = [
            Admitted(job_id, bool(created), fresh(job, now_ms, position[0]) if position else None)
            for job, (job_id, created, *position) in zip(jobs, answers, strict=True)
        ]
        return told, permits(wanted)

    def claim(
        self,
        pool: str,
        worker: str,
        *,
        loaded: str | None = None,
        permit: str | None = None,
        nonce: str | None = None,
        memory: Memory | None = None,
        models: Collection[str] | None = None,
        patience_s: float | None = None,
    ) -> Claim | None:
        """The best job of the pool at this moment, leased to `worker`: fairness picks the tenant, priority then
        deadline the job, and the `loaded` lane may reorder within the affinity window. None: nothing to do.
        A job that `memory` does not hold is left to a worker of the pool that holds it, if one was seen lately.

        One of a model that is not among `models` (None: it offers all) is left to whoever offers it.

        A call that is said again with the same `nonce` within a few seconds finds the lease that the first one took.
        `patience_s`: the caller hears no answer after that, and no lease is taken for it (by default, as long as one
        call waits).
        """
        # durable, because an attempt number that a crash of Redis took back would be given out twice
        mine = memory.text if memory else ""
        offered = "" if models is None else " ".join(models) or NOTHING_OFFERED
        nonce = nonce or uuid4().hex
        answer = self.run_in_time(
            "claim",
            *(pool, worker, loaded or "", permit or "", nonce, mine, offered),
            patience_s=self._in_time_s if patience_s is None else patience_s,
            durable=True,
        )
        if not answer:
            return None
        attempt, job = answer
        return Claim(decode(job), Fence(attempt, nonce), int(self._settings.lease.seconds * 1000))

    def heartbeat(
        self,
        job_id: str,
        attempt: int,
        *,
        phase: str | None = None,
        progress: float | None = None,
        step: int = 0,
        steps: int = 0,
    ) -> Verdict:
        """Renew the lease; with `phase`, also record progress and tell the tenant's event stream."""
        return self.heartbeats([Beat(job_id, attempt, phase, progress, step, steps)])[0]

    def heartbeats(self, beats: Sequence[Beat]) -> list[Verdict]:
        """`heartbeat` for many attempts (some hundreds at most) in one call: an answer for each, in their order."""
        return list(self.beat(beats).verdicts) if beats else []

    def beat(self, beats: Sequence[Beat], presence: PresenceBeat | None = None) -> BeatAnswer:
        """As `heartbeats`; in the same call, the worker of `presence` goes on to count as live."""
        arguments: list[str | int | float] = ["", "", "", ""]
        if presence is not None:
            arguments = [presence.worker, presence.pool, int(presence.ttl_s * 1000), presence.mark]
        for beat in beats:
            shown = "" if beat.progress is None else round(beat.progress, 4)
            arguments += [beat.job, Fence.text(beat.attempt), beat.phase or "", shown, beat.step, beat.steps]
        reaped, known, *verdicts = self.run("heartbeat", *arguments)
        return BeatAnswer(tuple(map(Verdict, verdicts)), bool(known), reaped or None)

    def intake_done(
        self, job_id: str, attempt: int, inputs: dict[str, InputRef], reshaped: Reshaped | None = None
    ) -> tuple[CommitOutcome, list[Permit]]:
        """waiting -> queued: every input is stored. Ends the intake lease. `reshaped` is what follows from the inputs
        (JobSpec.picture_area, length_of). What the job then costs more is held in the same write; where the account
        does not cover it, the job fails."""
        with mapped():
            body = self._redis.get(self._keys("body", job_id))
        if not isinstance(body, str):
            return CommitOutcome.FENCED, []
        changes = (with_inputs(body, inputs, reshaped), *reshaping(reshaped))
        outcome, wanted = self.run("intake_done", job_id, Fence.text(attempt), *changes, durable=True)
        return CommitOutcome(outcome), permits(wanted)

    def commit(self, job_id: str, attempt: int, artifacts: Artifacts, *, gpu_s: float) -> CommitOutcome:
        """running -> succeeded. State, pointer to the result, charge, event and outbox in one write. `gpu_s` is what
        the attempt really took: it corrects the tenant's fair-share charge."""
        answer = self.run(
            "commit", job_id, Fence.text(attempt), artifacts_json(artifacts), _seconds(gpu_s), durable=True
        )
        return CommitOutcome(answer)

    def fail(
        self, job_id: str, attempt: int, fault: JobFault, *, gpu_s: float = 0.0
    ) -> tuple[FailOutcome, list[Permit]]:
        """The attempt ended badly: queued again after a backoff when the fault is retryable and attempts are left,
        else failed. FaultCode.CANCELLED, or a job being cancelled: cancelled."""
        message = fault.message[:_MESSAGE_CHARS]
        outcome, wanted = self.run(
            "fail", job_id, Fence.text(attempt), fault.code, message, _seconds(gpu_s), durable=True
        )
        return FailOutcome(outcome), permits(wanted)

    def release(
        self, job_id: str, attempt: int, *, gpu_s: float = 0.0, delay_s: float = 0.0
    ) -> tuple[FailOutcome, list[Permit]]:
        """Hand the attempt back, not counted (a drain, a spot notice): queued again at once, or in `delay_s` (at most
        lease.backoff_max_s)."""
        delay_ms = int(1000 * max(0.0, min(delay_s, self._settings.lease.backoff_max_s)))
        outcome, wanted = self.run("release", job_id, Fence.text(attempt), _seconds(gpu_s), delay_ms)
        return FailOutcome(outcome), permits(wanted)

    def cancel(self, tenant: str, job_id: str) -> CancelOutcome:
        """End the job at once, unless a worker renders it: that worker is told to ask (`notices`)."""
        return CancelOutcome(self.run("cancel", tenant, job_id, durable=True))

    def hold(self, job_ids: Sequence[str], reason: HoldReason) -> list[HoldOutcome]:
        """These jobs (some hundreds at most in one call) do not start while they have `reason`: no claim sees them, no
        audit queues them, a cancel ends them. What runs goes on. One answer for each, in the order asked for."""
        return [HoldOutcome(answer) for answer in self.run("hold", reason, *job_ids, durable=True)] if job_ids else []

    def release_held(self, job_ids: Sequence[str], reason: HoldReason) -> tuple[list[HoldOutcome], list[Permit]]:
        """`reason` is gone. A job that has no other waits again: in its queue, or for the rest of its backoff."""
        if not job_ids:
            return [], []
        answers, wanted = self.run("release_held", reason, *job_ids, durable=True)
        return [HoldOutcome(answer) for answer in answers], permits(wanted)

    def erase(self, tenant: str, job_id: str, *, unlist: bool = False) -> bool | None:
        """The owner wants the files of a job gone: it has none from now on, and the caller removes the objects. False
        while the job is open, None when there is no such job. unlist: the lists of its dialect do not show it either.
        """
        answer = self.run("erase", tenant, job_id, "1" if unlist else "", durable=True)
        return None if answer is None else bool(answer)


def _seconds(gpu_s: float) -> float:
    return max(0.0, min(float(gpu_s), 1e9))
