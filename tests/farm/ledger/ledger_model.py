"""The laws of the ledger as a small Python program: what every call has to answer, and where every job then stands.
Time is in seconds since the model began; it moves only when the test moves it."""

from dataclasses import dataclass, replace

from ledger_model_lines import Lines, ModelJob, Share, line_of

from farm.jobs.errors import KILLS_WORKER, RETRYABLE, FaultCode
from farm.jobs.job import NewJob
from farm.jobs.purchase import PurchaseEnding, PurchaseNews
from farm.jobs.states import TERMINAL, HoldReason, State, Tier
from farm.ledger import (
    CancelOutcome,
    CommitOutcome,
    FailOutcome,
    HoldOutcome,
    OperationOutcome,
    Verdict,
)

LEASE_S = 90.0
REAP_GAP_S = 45.0
POISON_LOSSES = 2
UNHEARD_MOST = 5


@dataclass
class Money:
    balance: int
    held: int = 0


@dataclass
class Bill:
    """A purchase: open, its price is held; closed, its cost is spent, by its tenant or wasted."""

    tenant: str
    price: int
    open: bool = True
    id: str | None = None
    cost: int = 0
    wasted: bool = False


#: what all purchases together may come to in a month
FARM_CAP = 250


class Refused(Exception):
    """The name of the error that admit has to raise."""


class Model(Lines):
    def __init__(self, weights: dict[str, float], max_open: dict[str, int], money: dict[str, Money]) -> None:
        super().__init__()
        self.weights, self.max_open, self.money = weights, max_open, money
        self.now = 0.0
        self.last_reap: float | None = None
        self.jobs: dict[str, ModelJob] = {}
        self.keys: dict[tuple[str, str], tuple[str, str | None]] = {}
        self.shares: dict[str, Share] = {}
        self.bills: dict[tuple[str, str], Bill] = {}

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
            self.jobs[job.id] = record = ModelJob(job, state, held_for=set(job.held_for), tier=job.tier)
            record.admitted(self.now)
            if job.tenant in self.money:
                self.money[job.tenant].held += job.hold or 0
            self._queue(record)
        return answers

    def claim(self, pool: str, loaded: str | None) -> ModelJob | None:
        self._promote(pool, 8)
        if ("pool", pool) in self.paused:
            return None
        job = next(filter(None, (self._first(pool, tier, loaded) for tier in Tier)), None)
        if job is None:
            return None
        share, tenant = self.shares[job.line], job.new.tenant
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
            job.state, job.started = State.RUNNING, True
            for tier in Tier:
                share = self.shares.get(line_of(pool, tier), Share())
                if self._stands(line_of(pool, tier), tenant) and self._limited(pool, tier, tenant):
                    share.members.discard(tenant)
                    share.aside.add(tenant)
        return job

    def buy(self, job: ModelJob, nonce: str, price: int) -> int | str | None:
        """The attempt, "cap", or None where there is nothing to buy."""
        if job.nonce == nonce:
            return job.buy_attempt if job.bought and job.holds(job.buy_attempt) else None
        left = self.bills.get((job.new.id, job.nonce or ""))
        if (job.new.id, nonce) in self.bills or (left is not None and left.open):
            return None
        if job.state is not State.QUEUED or job.at != "queue" or self._overdue(job):
            return None
        if ("tenant", job.new.tenant) in self.paused:
            return None
        if price + sum(self.external()) > FARM_CAP:
            return "cap"
        self.bills[job.new.id, nonce] = Bill(job.new.tenant, price)
        self._leave_for(job, nonce, None)
        job.at, job.lease_until, job.graced, job.passes = "lease", self.now + LEASE_S, False, 0
        job.attempt += 1
        job.unheard, job.buy_attempt = 0, job.attempt
        return job.attempt

    def _leave_for(self, job: ModelJob, nonce: str, provider_id: str | None) -> None:
        job.started, job.state = True, State.RUNNING
        job.bought, job.nonce, job.provider_id, job.at_provider = True, nonce, provider_id, True

    def was_bought(self, job: ModelJob, nonce: str, provider_id: str) -> PurchaseNews:
        bill = self.bills.get((job.new.id, nonce))
        if bill is None:
            return PurchaseNews.UNKNOWN
        if bill.id and bill.id != provider_id:
            return PurchaseNews.SECOND
        if not bill.id:
            bill.id = provider_id
            bill.open = bill.open or not bill.cost
        if job.bought and job.nonce == nonce:
            job.provider_id = provider_id
            return PurchaseNews.KNOWN
        if not bill.open or job.state is not State.QUEUED or job.at != "queue":
            return PurchaseNews.LEFT
        self._leave_for(job, nonce, provider_id)
        job.at = None
        self._queue(job)
        return PurchaseNews.BACK

    def unbuy(self, job: ModelJob, attempt: int, nonce: str, ending: PurchaseEnding | None, cost: int) -> FailOutcome:
        if not job.bought or not job.holds(attempt):
            return self._over(job, attempt)
        if job.nonce != nonce:
            return FailOutcome.FENCED
        if ending:
            self.close(job, nonce, cost, wasted=False)
        job.ended, job.bought, job.provider_id, job.unheard = attempt, False, None, 0
        if job.cancelling:
            self._end(job, State.CANCELLED)
            return FailOutcome.CANCELLED
        job.state, job.at = State.QUEUED, None
        self._queue(job)
        return FailOutcome.RETRY

    def close(self, job: ModelJob, nonce: str, cost: int, *, wasted: bool) -> bool:
        bill = self.bills.get((job.new.id, nonce))
        if bill is None:
            return False
        if not bill.open:
            bill.wasted = bill.wasted or wasted
            return False
        bill.open, bill.cost, bill.wasted = False, cost, wasted
        return True

    def external(self, tenant: str | None = None, *, wasted: bool = False) -> tuple[int, int]:
        """(held, spent) of a tenant; of the farm; or of the overhead."""
        bills = [bill for bill in self.bills.values() if tenant in (None, bill.tenant)]
        held = sum(bill.price for bill in bills if bill.open and not wasted)
        closed = [bill for bill in bills if not bill.open and (bill.wasted or not wasted)]
        return held, sum(bill.cost for bill in closed if tenant is None or not bill.wasted)

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
        job.charged_s = None
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
        self._queue(job)
        return CommitOutcome.COMMITTED

    def commit(self, job: ModelJob, attempt: int, gpu_s: float) -> CommitOutcome:
        if job.state is not State.RUNNING or not job.holds(attempt):
            if job.attempt == attempt and job.state is State.SUCCEEDED:
                return CommitOutcome.ALREADY
            over = job.state is State.CANCELLED and job.attempt == attempt
            return CommitOutcome.CANCELLED if over else CommitOutcome.FENCED
        self._attempt_end(job, gpu_s)
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
        self._attempt_end(job, gpu_s)
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
        # what was bought goes on at its provider, also while no process follows it
        if job.at == "lease" or job.state is State.RUNNING:
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
                self._queue(job)
        return HoldOutcome.HELD if job.held_for else HoldOutcome.FREE

    def pause(self, kind: str, name: str) -> bool:
        changed = (kind, name) not in self.paused
        self.paused.add((kind, name))
        for line, share in self.shares.items():
            pool, _, tier = line.partition("!")
            if self._stands(line, name) and self._limited(pool, Tier(tier or "normal"), name):
                share.members.discard(name)
                share.aside.add(name)
        return changed

    def resume(self, kind: str, name: str) -> bool:
        changed = (kind, name) in self.paused
        self.paused.discard((kind, name))
        if changed and kind == "tenant":
            self._review(name)
        return changed

    def set_tier(self, job: ModelJob, tier: Tier) -> OperationOutcome:
        if job.state in TERMINAL:
            return OperationOutcome.OVER
        if job.state is State.RUNNING:
            return OperationOutcome.RUNNING
        if job.tier is tier:
            return OperationOutcome.UNCHANGED
        queued, job.at = job.at == "queue", None if job.at == "queue" else job.at
        job.tier = tier
        if queued:
            self._queue(job)
        return OperationOutcome.DONE

    def requeue(self, job: ModelJob) -> OperationOutcome:
        if job.state in TERMINAL:
            return OperationOutcome.OVER
        if job.bought:
            return OperationOutcome.BOUGHT
        if job.at == "lease":
            self._attempt_end(job, 0.0)
            job.unheard = 0
            self._returned(job)
            return OperationOutcome.DONE
        if job.at == "queue":
            return OperationOutcome.UNCHANGED
        if job.at == "held":
            return OperationOutcome.HELD
        self._queue(job)
        return OperationOutcome.DONE

    def reap(self) -> int:
        """How many leases had expired."""
        leased = [job for job in self.jobs.values() if job.at == "lease"]
        if self.last_reap is not None and self.now - self.last_reap > REAP_GAP_S:
            for job in leased:
                if not job.graced:
                    job.graced, job.lease_until = True, self.now + LEASE_S
        self.last_reap = self.now
        self._see_to_what_is_due()
        for tenant in self.weights:
            self._review(tenant)
        lost = [job for job in leased if job.at == "lease" and job.lease_until <= self.now]
        resumable = [job for job in lost if job.bought and job.at_provider]
        # in the order of the leases: who enters a queue first is lifted
        for job in sorted(lost, key=lambda job: (job.lease_until, job.new.id)):
            if job in resumable:
                job.unheard = 0
                self._returned(job)
            elif 0 < job.unheard <= UNHEARD_MOST:
                self._attempt_end(job, job.new.predicted_s)
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
            self._queue(job)
            return FailOutcome.RETRY
        if job.cancelling:
            self._end(job, State.CANCELLED)
            return FailOutcome.CANCELLED
        if job.state is State.RUNNING:
            job.state = State.QUEUED
        job.at = None
        self._queue(job)
        return FailOutcome.RETRY

    def _failed(self, job: ModelJob, code: FaultCode, gpu_s: float) -> FailOutcome:
        self._attempt_end(job, gpu_s)
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
        job.state, job.at = state, None
        job.error = FaultCode.EXPIRED if job.late and state is State.CANCELLED else error
        job.held_for.clear()
        money = self.money.get(job.new.tenant)
        if money:
            money.held -= job.new.hold or 0
            if state is State.SUCCEEDED:
                money.balance -= job.new.hold or 0
