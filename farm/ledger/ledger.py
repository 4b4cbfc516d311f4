"""The Ledger: one method per transition, each one Lua script.

`redis` is a redis-py client with decode_responses=True. Every call may raise farm.jobs.errors.Unavailable when
Redis is away: the transition then *may* have happened, and saying it again is safe.
"""

from collections.abc import Collection, Sequence
from typing import Any

from redis import Redis

from farm.config import Settings
from farm.jobs.errors import JobFault
from farm.jobs.job import Admitted, Artifacts, Claim, Job, JobEvent, NewJob, Page
from farm.jobs.spec import InputRef
from farm.jobs.states import State
from farm.ledger.outcomes import (
    AuditReport,
    CancelOutcome,
    CommitOutcome,
    FailOutcome,
    Permit,
    ReapReport,
    Verdict,
)

#: the pool of the io worker: jobs in state `waiting` are queued there for intake
INTAKE_POOL = "intake"


class Ledger:
    def __init__(self, redis: Redis, settings: Settings) -> None: ...

    # --- the life of a job, in order
    def admit(self, jobs: Sequence[NewJob]) -> tuple[list[Admitted], list[Permit]]:
        """All or nothing. A job whose spec needs intake starts `waiting`, any other `queued`.

        Raises Conflict (idempotency key seen with another body), TooMany (open-job limit of the tenant),
        PaymentRequired (holds do not fit the tenant's credit), Unavailable.
        """
        raise NotImplementedError

    def claim(self, pool: str, worker: str, *, loaded: str | None = None, permit: str | None = None) -> Claim | None:
        """The best job of the pool at this moment, leased to `worker`: fairness picks the tenant, priority then
        deadline the job, and the `loaded` lane may reorder within the affinity window. None: nothing to do."""
        raise NotImplementedError

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
        raise NotImplementedError

    def intake_done(self, job_id: str, attempt: int, inputs: dict[str, InputRef]) -> tuple[CommitOutcome, list[Permit]]:
        """waiting -> queued: every input is stored. Ends the intake lease."""
        raise NotImplementedError

    def commit(self, job_id: str, attempt: int, artifacts: Artifacts, *, gpu_s: float) -> CommitOutcome:
        """running -> succeeded. State, pointer to the result, charge, event and outbox in one write. `gpu_s` is what
        the attempt really took: it corrects the tenant's fair-share charge."""
        raise NotImplementedError

    def fail(
        self, job_id: str, attempt: int, fault: JobFault, *, gpu_s: float = 0.0
    ) -> tuple[FailOutcome, list[Permit]]:
        """The attempt ended badly: queued again after a backoff when the fault is retryable and attempts are left,
        else failed. FaultCode.CANCELLED, or a job being cancelled: cancelled."""
        raise NotImplementedError

    def release(self, job_id: str, attempt: int) -> tuple[FailOutcome, list[Permit]]:
        """Hand the attempt back, not counted (a drain, a spot notice): queued again at once."""
        raise NotImplementedError

    def cancel(self, tenant: str, job_id: str) -> CancelOutcome:
        raise NotImplementedError

    # --- keeping the house in order (beat)
    def reap(self, limit: int = 200) -> ReapReport:
        """Expired leases become retries or verdicts; delayed retries whose time has come are queued; missing permits
        are asked for. Every action checks again what it acts on, so several reapers are harmless."""
        raise NotImplementedError

    def audit(self, cursor: str | None = None, limit: int = 500) -> AuditReport:
        """Compare indexes and counters with the records of up to `limit` jobs after `cursor` and mend them."""
        raise NotImplementedError

    def forget(self, before_ms: int, limit: int = 500) -> list[Job]:
        """Remove terminal jobs that ended before `before_ms`; returns them, so that their objects can go too."""
        raise NotImplementedError

    # --- permits and workers
    def permits_wanted(self, pool: str) -> list[Permit]:
        """Reserve as many permits as there are claimable jobs and workers not yet woken."""
        raise NotImplementedError

    def worker_seen(self, worker: str, pool: str, facts: dict[str, Any], *, ttl_s: float) -> None:
        """Keep `worker` among the pool's live workers for `ttl_s`; `facts` is shown to operators (device, lane,
        state, job, models)."""
        raise NotImplementedError

    def worker_gone(self, worker: str, pool: str) -> None:
        raise NotImplementedError

    def workers(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    # --- reading
    def get(self, tenant: str, job_id: str) -> Job | None:
        """None also when the job is another tenant's."""
        raise NotImplementedError

    def find(self, job_id: str) -> Job | None:
        """For the farm itself: whoever's it is."""
        raise NotImplementedError

    def page(
        self,
        tenant: str,
        *,
        states: Collection[State] = (),
        model: str | None = None,
        batch: str | None = None,
        dialect: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Newest first."""
        raise NotImplementedError

    def position(self, job: Job) -> int | None:
        """How many jobs of its own tenant stand before a queued job (0: next); None when it is not queued."""
        raise NotImplementedError

    def counts(self, tenant: str | None = None) -> dict[State, int]:
        raise NotImplementedError

    def events(
        self, tenant: str, *, after: str, job_id: str | None = None, block_ms: int = 0, count: int = 100
    ) -> list[JobEvent]:
        """Events after the id `after` ("0" from the oldest kept, "$" only new ones). Blocks up to block_ms."""
        raise NotImplementedError

    def last_event_id(self, tenant: str) -> str:
        raise NotImplementedError
