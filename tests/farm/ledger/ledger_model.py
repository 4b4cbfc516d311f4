"""The laws of the ledger as a small Python program: what every call has to answer, and where every job then stands.
Time is in seconds since the model began; it moves only when the test moves it."""

from dataclasses import dataclass, field, replace

from farm.jobs.errors import KILLS_WORKER, RETRYABLE, FaultCode
from farm.jobs.job import NewJob
from farm.jobs.states import TERMINAL, HoldReason, State
from farm.ledger import BURST_POOL, INTAKE_POOL, CancelOutcome, CommitOutcome, FailOutcome, HoldOutcome, Verdict

LEASE_S = 90.0
REAP_GAP_S = 45.0
POISON_LOSSES = 2
UNHEARD_MOST = 5
AFFINITY_WINDOW, AFFINITY_PASSES = 4, 2


@dataclass
class ModelJob:
    """`at`: "queue", "delayed", "held", "lease", or None when it is over."""

    new: NewJob
    state: State
    at: str | None = "queue"
    ready_at: float = 0.0
    lease_until: float = 0.0
    graced: bool = False
    attempt: int = 0
    used: int = 0
    losses: int = 0
    passes: int = 0
    cancelling: bool = False
    ended: int | None = None
    intake_done: int | None = None
    charged_s: float | None = None
    unheard: int = 0
    lifted: float = 0.0
    error: str | None = None
    held_for: set[HoldReason] = field(default_factory=set)
    bought: bool = False
    nonce: str | None = None
    buy_attempt: int = 0
    provider_id: str | None = None
    #: its phase is one of a provider's
    at_provider: bool = False

    @property
    def pool(self) -> str:
        if self.bought and self.state is State.RUNNING:
            return BURST_POOL
        return INTAKE_POOL if self.state is State.WAITING else self.new.pool

    @property
    def key(self) -> tuple[int, float, str]:
        """Its place in the queue of its tenant."""
        return (-self.new.priority, float("inf") if self.new.deadline_ms is None else self.new.deadline_ms, self.new.id)

    @property
    def stopped(self) -> bool:
        """Whether a reason keeps it from starting."""
        if self.state is State.WAITING:
            return HoldReason.DEPENDENCY in self.held_for
        return self.state is State.QUEUED and bool(self.held_for)

    def holds(self, attempt: int) -> bool:
        return self.at == "lease" and self.attempt == attempt


@dataclass
class Share:
    """Virtual times of one pool."""

    own: dict[str, float] = field(default_factory=dict)
    lifted: dict[str, float] = field(default_factory=dict)
    open: dict[str, float] = field(default_factory=dict)
    clock: float = 0.0


@dataclass
class Money:
    balance: int
    held: int = 0


class Refused(Exception):
    """The name of the error that admit has to raise."""


class Model:
    def __init__(self, weights: dict[str, float], max_open: dict[str, int], money: dict[str, Money]) -> None:
        self.weights, self.max_open, self.money = weights, max_open, money
        self.now = 0.0
        self.last_reap: float | None = None
        self.jobs: dict[str, ModelJob] = {}
        self.keys: dict[tuple[str, str], tuple[str, str | None]] = {}
        self.shares: dict[str, Share] = {}

    # --- transitions
    def admit(self, new: list[NewJob]) -> list[tuple[str, bool]]:
        answers, fresh, keys = [], [], dict(self.keys)
        for job in new:
            key = (job.tenant, job.idempotency_key or "")
            known = keys.get(key) if job.idempotency_key else None
            if job.id in self.jobs:
                answers.append((job.id, True))
            elif known:
                if known[1] != job.body_sha256:
                    raise Refused("Conflict")
                answers.append((known[0], False))
            else:
                if job.idempotency_key:
                    keys[key] = (job.id, job.body_sha256)
                if job.hold is None and job.tenant in self.money:
                    raise Refused("PaymentRequired")
                answers.append((job.id, True))
                fresh.append(job)
        for tenant in {job.tenant for job in fresh}:
            mine = [job for job in fresh if job.tenant == tenant]
            if tenant in self.max_open and len(self.open(tenant)) + len(mine) > self.max_open[tenant]:
                raise Refused("TooMany")
            money = self.money.get(tenant)
            if money and sum(job.hold or 0 for job in mine) > money.balance - money.held:
                raise Refused("PaymentRequired")
        self.keys = keys
        for job in fresh:
            state = State.WAITING if job.spec.needs_intake else State.QUEUED
            self.jobs[job.id] = record = ModelJob(job, state, held_for=set(job.held_for))
            if job.tenant in self.money:
                self.money[job.tenant].held += job.hold or 0
            self._queue(record, was_idle=self._idle(record))
        return answers

    def claim(self, pool: str, loaded: str | None) -> ModelJob | None:
        self._promote(pool, 8)
        share = self.shares.setdefault(pool, Share())
        queues: dict[str, list[ModelJob]] = {}
        for job in sorted(self.jobs.values(), key=lambda job: job.key):
            if job.at == "queue" and job.pool == pool:
                queues.setdefault(job.new.tenant, []).append(job)
        if not queues:
            return None
        tenant = min(queues, key=lambda tenant: (share.own[tenant], tenant))
        job = self._preferred(queues[tenant], loaded)
        if not job.bought:
            # what was charged and not used yet moves nobody's clock
            share.clock = max(share.clock, share.own[tenant] - share.open.get(tenant, 0.0) / self.weights[tenant])
            job.charged_s = 1.0 if job.state is State.WAITING else job.new.predicted_s
            job.lifted = share.lifted.get(tenant, 0.0)
            if job.state is not State.WAITING:
                share.open[tenant] = share.open.get(tenant, 0.0) + job.charged_s
            share.own[tenant] += job.charged_s / self.weights[tenant]
        job.at, job.lease_until, job.graced, job.passes = "lease", self.now + LEASE_S, False, 0
        job.attempt += 1
        job.unheard += 1
        if job.state is State.QUEUED:
            job.state = State.RUNNING
        return job

    def buy(self, job: ModelJob, nonce: str) -> int | None:
        """The attempt, or None where there is nothing to buy."""
        if job.nonce == nonce:
            return job.buy_attempt if job.bought and job.holds(job.buy_attempt) else None
        if job.state is not State.QUEUED or job.at != "queue":
            return None
        job.state, job.at, job.lease_until, job.graced, job.passes = (
            State.RUNNING,
            "lease",
            self.now + LEASE_S,
            False,
            0,
        )
        job.attempt += 1
        job.unheard = 0
        job.bought, job.nonce, job.buy_attempt, job.provider_id, job.at_provider = True, nonce, job.attempt, None, True
        return job.attempt

    def was_bought(self, job: ModelJob, nonce: str, provider_id: str) -> bool:
        if not job.bought or job.nonce != nonce:
            return False
        job.provider_id = job.provider_id or provider_id
        return job.provider_id == provider_id

    def unbuy(self, job: ModelJob, attempt: int) -> FailOutcome:
        if not job.bought or not job.holds(attempt):
            return self._over(job, attempt)
        job.ended, job.bought, job.provider_id, job.unheard = attempt, False, None, 0
        if job.cancelling:
            self._end(job, State.CANCELLED)
            return FailOutcome.CANCELLED
        job.state, job.at = State.QUEUED, None
        self._queue(job, was_idle=self._idle(job))
        return FailOutcome.RETRY

    def heartbeat(self, job: ModelJob, attempt: int, phase: str | None = None) -> Verdict:
        if not job.holds(attempt):
            over = job.state is State.CANCELLED and job.attempt == attempt
            return Verdict.CANCEL if over else Verdict.LOST
        job.lease_until, job.graced, job.unheard = self.now + LEASE_S, False, 0
        job.at_provider = job.at_provider and not phase
        return Verdict.CANCEL if job.cancelling else Verdict.GO

    def intake_done(self, job: ModelJob, attempt: int, costs: int | None = None) -> CommitOutcome:
        if job.state is not State.WAITING or not job.holds(attempt):
            if job.intake_done == attempt:
                return CommitOutcome.ALREADY
            over = job.state is State.CANCELLED and job.attempt == attempt
            return CommitOutcome.CANCELLED if over else CommitOutcome.FENCED
        job.intake_done, job.used, job.losses, job.unheard = attempt, 0, 0, 0
        money = self.money.get(job.new.tenant)
        if costs is not None:
            change = costs - (job.new.hold or 0)
            if money and change > 0 and change > money.balance - money.held:
                job.error = FaultCode.INSUFFICIENT_CREDIT
                self._end(job, State.FAILED)
                return CommitOutcome.UNPAID
            if money:
                money.held += change
            job.new = replace(job.new, hold=costs)
        job.state = State.QUEUED
        job.at = None
        self._queue(job, was_idle=self._idle(job))
        return CommitOutcome.COMMITTED

    def commit(self, job: ModelJob, attempt: int, gpu_s: float) -> CommitOutcome:
        if job.state is not State.RUNNING or not job.holds(attempt):
            if job.attempt == attempt and job.state is State.SUCCEEDED:
                return CommitOutcome.ALREADY
            over = job.state is State.CANCELLED and job.attempt == attempt
            return CommitOutcome.CANCELLED if over else CommitOutcome.FENCED
        self._correct(job, gpu_s)
        self._end(job, State.CANCELLED if job.cancelling else State.SUCCEEDED)
        return CommitOutcome.CANCELLED if job.cancelling else CommitOutcome.COMMITTED

    def fail(self, job: ModelJob, attempt: int, code: FaultCode, gpu_s: float) -> FailOutcome:
        if not job.holds(attempt):
            return self._over(job, attempt)
        job.ended = attempt
        job.cancelling = job.cancelling or code is FaultCode.CANCELLED
        job.unheard = 0
        return self._failed(job, code, gpu_s)

    def release(self, job: ModelJob, attempt: int, gpu_s: float) -> FailOutcome:
        if not job.holds(attempt):
            return self._over(job, attempt)
        self._correct(job, gpu_s)
        job.ended, job.unheard = attempt, 0
        return self._returned(job)

    def cancel(self, tenant: str, job: ModelJob) -> CancelOutcome:
        if job.new.tenant != tenant:
            return CancelOutcome.NOT_FOUND
        if job.state in TERMINAL:
            return CancelOutcome.OVER
        if job.state is State.RUNNING:
            job.cancelling = True
            return CancelOutcome.CANCELLING
        self._end(job, State.CANCELLED)
        return CancelOutcome.CANCELLED

    def hold(self, job: ModelJob, reason: HoldReason) -> HoldOutcome:
        if job.state in TERMINAL:
            return HoldOutcome.OVER
        job.held_for.add(reason)
        if job.at == "lease":
            return HoldOutcome.RUNNING
        if job.stopped:
            job.at = "held"
        return HoldOutcome.HELD

    def release_held(self, job: ModelJob, reason: HoldReason) -> HoldOutcome:
        if job.state in TERMINAL:
            return HoldOutcome.OVER
        job.held_for.discard(reason)
        if job.at == "held" and not job.stopped:
            if job.ready_at > self.now:
                job.at = "delayed"
            else:
                self._queue(job, was_idle=self._idle(job))
        return HoldOutcome.HELD if job.held_for else HoldOutcome.FREE

    def reap(self) -> int:
        """How many leases had expired."""
        leased = [job for job in self.jobs.values() if job.at == "lease"]
        if self.last_reap is not None and self.now - self.last_reap > REAP_GAP_S:
            for job in leased:
                if not job.graced:
                    job.graced, job.lease_until = True, self.now + LEASE_S
        self.last_reap = self.now
        lost = [job for job in leased if job.lease_until <= self.now]
        resumable = [job for job in lost if job.bought and job.at_provider]
        # in the order of the leases: who enters a queue first is lifted
        for job in sorted(lost, key=lambda job: (job.lease_until, job.new.id)):
            if job in resumable:
                job.unheard = 0
                self._returned(job)
            elif 0 < job.unheard <= UNHEARD_MOST:
                self._correct(job, job.new.predicted_s)
                self._returned(job)
            else:
                self._failed(job, FaultCode.WORKER_LOST, job.new.predicted_s)
        for pool in {job.pool for job in self.jobs.values()}:
            self._promote(pool, 200)
        return len(lost) - len(resumable)

    # --- what follows from them
    def open(self, tenant: str) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.new.tenant == tenant and job.state not in TERMINAL]

    def _over(self, job: ModelJob, attempt: int) -> FailOutcome:
        if job.ended == attempt or (job.attempt == attempt and job.state is State.SUCCEEDED):
            return FailOutcome.ALREADY
        over = job.state is State.CANCELLED and job.attempt == attempt
        return FailOutcome.CANCELLED if over else FailOutcome.FENCED

    def _returned(self, job: ModelJob) -> FailOutcome:
        if job.bought:
            job.at = None
            self._queue(job, was_idle=self._idle(job))
            return FailOutcome.RETRY
        if job.cancelling:
            self._end(job, State.CANCELLED)
            return FailOutcome.CANCELLED
        if job.state is State.RUNNING:
            job.state = State.QUEUED
        job.at = None
        self._queue(job, was_idle=self._idle(job))
        return FailOutcome.RETRY

    def _failed(self, job: ModelJob, code: FaultCode, gpu_s: float) -> FailOutcome:
        self._correct(job, gpu_s)
        if job.cancelling:
            self._end(job, State.CANCELLED)
            return FailOutcome.CANCELLED
        job.used += 1
        job.losses += code in KILLS_WORKER
        if code in KILLS_WORKER and job.losses >= POISON_LOSSES:
            self._end(job, State.FAILED, FaultCode.POISONOUS)
            return FailOutcome.FAILED
        if code not in RETRYABLE or job.used >= job.new.max_attempts:
            self._end(job, State.FAILED, code)
            return FailOutcome.FAILED
        if job.state is State.RUNNING and not job.bought:
            job.state = State.QUEUED
        job.at = "held" if job.stopped else "delayed"
        job.ready_at = float("nan")  # the test reads when, and checks it
        return FailOutcome.RETRY

    def _end(self, job: ModelJob, state: State, error: FaultCode | None = None) -> None:
        job.state, job.at, job.error = state, None, error
        job.held_for.clear()
        money = self.money.get(job.new.tenant)
        if money:
            money.held -= job.new.hold or 0
            if state is State.SUCCEEDED:
                money.balance -= job.new.hold or 0

    def _idle(self, job: ModelJob) -> bool:
        """Whether nothing else of its tenant is queued in its pool."""
        return not any(
            other is not job and other.at == "queue" and (other.pool, other.new.tenant) == (job.pool, job.new.tenant)
            for other in self.jobs.values()
        )

    def _queue(self, job: ModelJob, was_idle: bool) -> None:
        job.at, job.ready_at = ("held" if job.stopped else "queue"), 0.0
        if job.at == "held":
            return
        share, tenant = self.shares.setdefault(job.pool, Share()), job.new.tenant
        own = share.own.setdefault(tenant, 0.0)
        if was_idle and own < share.clock:
            share.lifted[tenant] = share.lifted.get(tenant, 0.0) + share.clock - own
            share.own[tenant] = share.clock

    def _promote(self, pool: str, limit: int) -> None:
        due = [j for j in self.jobs.values() if j.at == "delayed" and j.pool == pool and j.ready_at <= self.now]
        for job in sorted(due, key=lambda job: (job.ready_at, job.new.id))[:limit]:
            self._queue(job, was_idle=self._idle(job))

    def _preferred(self, queue: list[ModelJob], loaded: str | None) -> ModelJob:
        first, passed = queue[0], []
        if loaded is None or first.new.lane == loaded:
            return first
        for job in queue[:AFFINITY_WINDOW]:
            if job.new.priority != first.new.priority:
                return first
            if job.new.lane == loaded:
                for other in passed:
                    other.passes += 1
                return job
            if job.passes >= AFFINITY_PASSES:
                return first
            passed.append(job)
        return first

    def _correct(self, job: ModelJob, gpu_s: float) -> None:
        if job.state is State.WAITING or job.charged_s is None:
            return
        share, tenant = self.shares[job.pool], job.new.tenant
        correction = (gpu_s - job.charged_s) / self.weights[tenant]
        share.open[tenant], job.charged_s = share.open[tenant] - job.charged_s, None
        lifted = share.lifted.get(tenant, 0.0) - job.lifted
        share.own[tenant] += max(0.0, correction - lifted) if lifted > 1e-9 else correction
