"""The laws, under anything that may happen: hypothesis drives the real scripts on a real Redis and the model beside
them; after every step both must stand in the same place."""

import os
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from ledger_model import FARM_CAP, LEASE_S, Model, Money, Refused
from ledger_model_lines import AFFINITY_PASSES, AFFINITY_SLACK_S, AFFINITY_WINDOW, START_BY_S, WINDOW_S, ModelJob, Share
from ledger_parts import ARTIFACTS, audit, new_job, outage, pass_time
from redis import Redis

from farm.config import LeaseSettings, RedisSettings, SchedulingSettings, Settings
from farm.jobs.errors import FaultCode, JobFault, RequestError
from farm.jobs.job import Fence, NewJob, Reshaped
from farm.jobs.purchase import Cap, OverCap, Payer, PurchaseEnding
from farm.jobs.spec import InputRef
from farm.jobs.states import TERMINAL, HoldReason, State, Tier
from farm.ledger import BURST_POOL, INTAKE_POOL, CommitOutcome, FailOutcome, Ledger, StatementKind, SwitchKind, Verdict

POOLS = ("gpu", "fast")
LANES = ("warm", "cold")
RICH, FREE = "rich", "free"  # a tenant with a credit account, and one with an open-job limit
CODES = (FaultCode.ENGINE_ERROR, FaultCode.ENGINE_DIED, FaultCode.INVALID_INPUT, FaultCode.CANCELLED)
#: chosen with LEASE_S and the steps of time_passes so that a machine that stalls for ten seconds blurs nothing
BACKOFF_S = 24.0

seldom = st.integers(0, 4).map(lambda n: n == 0)
an_id = st.integers(0, 99)


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self, redis: Redis, redis_settings: RedisSettings) -> None:
        super().__init__()
        redis.flushdb()
        self.redis = redis
        self.ledger = Ledger(
            redis,
            Settings(
                redis=redis_settings,
                lease=LeaseSettings(seconds=LEASE_S, backoff_s=BACKOFF_S),
                scheduling=SchedulingSettings(
                    affinity_slack_s=AFFINITY_SLACK_S,
                    affinity_window=AFFINITY_WINDOW,
                    affinity_passes=AFFINITY_PASSES,
                    economy_rise_s=26.0,
                ),
            ),
        )
        redis.hset(f"wf:tenant:{RICH}", "weight", 1)
        redis.hset(f"wf:tenant:{FREE}", mapping={"weight": 2.5, "max_open": 6, "max_running": 3})
        redis.hset(f"wf:tenant:{RICH}", "max_running|gpu", 2)
        self.ledger.topup(RICH, 1000)
        self.model = Model({RICH: 1.0, FREE: 2.5}, {FREE: 6}, {RICH: Money(1000)})
        self.model.caps, self.model.pool_caps = {FREE: 3}, {(RICH, "gpu"): 2}
        self.ended: dict[str, State] = {}
        self.again: Any = None
        #: as the claims gave them: the fences of the attempts
        self.fences: dict[tuple[str, int], int] = {}

    def pick(self, n: int) -> ModelJob:
        return list(self.model.jobs.values())[n % len(self.model.jobs)]

    def said(self, call: Any) -> None:
        """Do `call` and keep it, to be repeated."""
        self.again = call
        call()

    # --- moves
    @rule(
        tenant=st.sampled_from([RICH, RICH, FREE]),
        pool=st.sampled_from(POOLS),
        lanes=st.lists(st.sampled_from(LANES), min_size=1, max_size=4),
        priority=st.sampled_from([5, 5, 5, 9]),
        hold=st.sampled_from([0, 50, 50, 400, None]),
        key=st.sampled_from([None, None, "k1", "k2"]),
        body=st.sampled_from(["x", "y"]),
        intake=st.booleans(),
        hook=st.booleans(),
        deadline_ms=st.sampled_from([None, None, 1_900_000_000_000]),
        tier=st.sampled_from([Tier.NORMAL, Tier.NORMAL, Tier.ECONOMY, Tier.URGENT]),
        starts_by=seldom,
        held_for=st.sampled_from([(), (), (), (HoldReason.APPROVAL,), (HoldReason.PAUSED, HoldReason.DEPENDENCY)]),
    )
    def admit(
        self, tenant: str, pool: str, lanes: list[str], key: str | None, body: str, intake: bool, **more: Any
    ) -> None:
        now_ms = int(time.time() * 1000)
        if more["tier"] is Tier.ECONOMY:
            more["deadline_ms"] = now_ms + int(WINDOW_S * 1000)
        if more.pop("starts_by"):
            more["start_by_ms"] = now_ms + int(START_BY_S * 1000)
        more["webhook_url"] = "https://example.org/hook" if more.pop("hook") else None
        jobs = [new_job(tenant, pool=pool, lane=lane, intake=intake, **more) for lane in lanes]
        if key:
            jobs[-1] = replace(jobs[-1], idempotency_key=key, body_sha256=body)
        self.said(lambda: self._admit(jobs))

    def _admit(self, jobs: list[NewJob]) -> None:
        try:
            expected: list[tuple[str, bool]] | str = self.model.admit(jobs)
        except Refused as refused:
            expected = str(refused)
        if isinstance(expected, str):
            with pytest.raises(RequestError) as raised:
                self.ledger.admit(jobs)
            assert type(raised.value).__name__ == expected
            return
        answers, permits = self.ledger.admit(jobs)
        assert [(answer.id, answer.created) for answer in answers] == expected
        assert len(permits) <= 2  # no worker has registered: one for the pool, one for intake

    @rule(pool=st.sampled_from([*POOLS, INTAKE_POOL, BURST_POOL]), loaded=st.sampled_from([None, *LANES]))
    def claim(self, pool: str, loaded: str | None) -> None:
        expected = self.model.claim(pool, loaded)
        claim = self.ledger.claim(pool, "w", loaded=loaded)
        # law 7: something whenever there is something; law 6: of the tenant whose turn it is, or is near
        assert (claim and claim.job.id) == (expected and expected.new.id)
        if claim and expected:
            assert (claim.attempt, claim.job.state) == (expected.attempt, expected.state)
            self.fences[claim.job.id, claim.attempt] = claim.attempt

    @precondition(lambda self: self.model.jobs)
    @rule(
        n=an_id,
        late=st.sampled_from([0, 0, 0, 0, 1, 1, 2, -1]),
        what=st.sampled_from(["heartbeat", "commit", "commit", "fail", "fail", "release", "intake_done"]),
        code=st.sampled_from(CODES),
        gpu_s=st.sampled_from([0.0, 4.0, 10.0, 25.0]),
        twin=seldom,
    )
    def write(self, n: int, late: int, what: str, code: FaultCode, gpu_s: float, twin: bool) -> None:
        """A worker writes: with the current attempt, or late with an old one, or with one that never was; or a `twin`
        does, which holds the same number by a claim that Redis lost."""
        leased = [job for job in self.model.jobs.values() if job.at == "lease"]
        job = leased[n % len(leased)] if leased and n % 4 else self.pick(n)
        attempt = max(0, job.attempt - late)
        if twin:
            self.said(lambda: self._refused(job, Fence(attempt, "lost"), what))
            return
        self.said(lambda: getattr(self, f"_{what}")(job, attempt, code, gpu_s))

    def _refused(self, job: ModelJob, twin: Fence, what: str) -> None:
        calls: dict[str, Any] = {
            "heartbeat": lambda: self.ledger.heartbeat(job.new.id, twin, phase="denoising"),
            "commit": lambda: self.ledger.commit(job.new.id, twin, ARTIFACTS, gpu_s=1.0),
            "fail": lambda: self.ledger.fail(job.new.id, twin, JobFault(FaultCode.ENGINE_DIED, "died"))[0],
            "release": lambda: self.ledger.release(job.new.id, twin)[0],
            "intake_done": lambda: self.ledger.intake_done(job.new.id, twin, {})[0],
        }
        assert calls[what]() in (Verdict.LOST, CommitOutcome.FENCED, FailOutcome.FENCED)

    def _fence(self, job: ModelJob, attempt: int) -> int:
        return self.fences.get((job.new.id, attempt), attempt)

    def _heartbeat(self, job: ModelJob, attempt: int, _code: FaultCode, gpu_s: float) -> None:
        phase = "denoising" if gpu_s else None
        expected = self.model.heartbeat(job, attempt, phase)
        assert self.ledger.heartbeat(job.new.id, self._fence(job, attempt), phase=phase, progress=0.5) is expected

    def _commit(self, job: ModelJob, attempt: int, _code: FaultCode, gpu_s: float) -> None:
        expected = self.model.commit(job, attempt, gpu_s)
        assert self.ledger.commit(job.new.id, self._fence(job, attempt), ARTIFACTS, gpu_s=gpu_s) is expected

    def _fail(self, job: ModelJob, attempt: int, code: FaultCode, gpu_s: float) -> None:
        expected = self.model.fail(job, attempt, code, gpu_s)
        assert self._told_failed(job, attempt, code, gpu_s) is expected
        self._delays()

    def _told_failed(self, job: ModelJob, attempt: int, code: FaultCode, gpu_s: float) -> FailOutcome:
        fault = JobFault(code, "went wrong")
        return self.ledger.fail(job.new.id, self._fence(job, attempt), fault, gpu_s=gpu_s)[0]

    def _release(self, job: ModelJob, attempt: int, _code: FaultCode, gpu_s: float) -> None:
        expected = self.model.release(job, attempt, gpu_s)
        assert self.ledger.release(job.new.id, self._fence(job, attempt), gpu_s=gpu_s)[0] is expected

    @precondition(lambda self: self.model.jobs)
    @rule(n=an_id, nonce=st.sampled_from("ab"), price=st.sampled_from([0, 30, 100]))
    def buy(self, n: int, nonce: str, price: int) -> None:
        """A job is to be bought: its intent is stored, once for each name of a submission."""
        queued = [job for job in self.model.jobs.values() if job.at == "queue" and job.state is State.QUEUED]
        job = queued[n % len(queued)] if queued and n % 4 else self.pick(n)
        self.said(lambda: self._buy(job, nonce, price))

    def _buy(self, job: ModelJob, nonce: str, price: int) -> None:
        expected = self.model.buy(job, nonce, price)
        caps = [Cap("farm", "month", FARM_CAP)]
        claim = self.ledger.buy(job.new.id, "buyer", _named(job, nonce), {"provider": "p"}, price=price, caps=caps)
        if isinstance(claim, OverCap):
            assert (expected, claim.left) == ("cap", FARM_CAP - sum(self.model.external()))
            return
        assert (claim and claim.attempt) == expected
        if claim:
            self.fences[claim.job.id, claim.attempt] = claim.attempt

    @precondition(lambda self: any(job.nonce for job in self.model.jobs.values()))
    @rule(
        n=an_id,
        nonce=st.sampled_from("ab"),
        provider_id=st.sampled_from(["1", "1", "2"]),
        late=seldom,
        what=st.sampled_from(["id", "id", "unbuy", "unbuy", "close"]),
        ending=st.sampled_from([None, PurchaseEnding.REFUSED, PurchaseEnding.FAILED]),
        cost=st.sampled_from([0, 10, 110]),
        payer=st.sampled_from(Payer),
    )
    def provider_answers(self, n: int, what: str, late: bool, **more: Any) -> None:
        """In time or late: the job has this id there, or nothing will come of it, or it came to so much."""
        known = [job for job in self.model.jobs.values() if job.nonce]
        job = known[n % len(known)]
        attempt = max(0, job.attempt - late)
        acts = {"id": self._bought, "unbuy": self._unbuy, "close": self._close}
        self.said(lambda: acts[what](job, attempt=attempt, **more))

    def _bought(self, job: ModelJob, *, nonce: str, provider_id: str, **_: Any) -> None:
        expected = self.model.was_bought(job, nonce, provider_id)
        assert self.ledger.bought(_named(job, nonce), provider_id) is expected

    def _unbuy(self, job: ModelJob, *, attempt: int, nonce: str, ending: Any, cost: int, **_: Any) -> None:
        expected = self.model.unbuy(job, attempt, nonce, ending, cost)
        got, _permits = self.ledger.unbuy(job.new.id, self._fence(job, attempt), _named(job, nonce), ending, cost)
        assert got is expected

    def _close(self, job: ModelJob, *, nonce: str, cost: int, payer: Payer, **_: Any) -> None:
        expected = self.model.close(job, nonce, cost, wasted=payer is Payer.OVERHEAD)
        assert self.ledger.close_purchase(_named(job, nonce), PurchaseEnding.DELIVERED, cost, payer) is expected

    @precondition(lambda self: any(job.state is State.WAITING for job in self.model.jobs.values()))
    @rule(n=an_id, costs=st.sampled_from([None, 0, 30, 300, 5000]))
    def take_in(self, n: int, costs: int | None) -> None:
        """The io worker does its work, and what it fetched turns out to cost something else."""
        self.claim(INTAKE_POOL, None)
        if leased := [job for job in self.model.jobs.values() if job.state is State.WAITING and job.at == "lease"]:
            job = leased[n % len(leased)]
            attempt = job.attempt
            self.said(lambda: self._intake_done(job, attempt, FaultCode.CANCELLED, 0.0, costs))

    def _intake_done(
        self, job: ModelJob, attempt: int, _code: FaultCode, _gpu_s: float, costs: int | None = None
    ) -> None:
        expected = self.model.intake_done(job, attempt, costs)
        stored = {"image": InputRef(key="inputs/x", sha256="x")}
        reshaped = None if costs is None else Reshaped(832, 480, 41, 16, job.new.predicted_s, 1800.0, "1:1", costs)
        assert self.ledger.intake_done(job.new.id, self._fence(job, attempt), stored, reshaped)[0] is expected

    @precondition(lambda self: self.model.jobs)
    @rule(n=an_id, foreign=seldom)
    def cancel(self, n: int, foreign: bool) -> None:
        job = self.pick(n)
        tenant = {RICH: FREE, FREE: RICH}[job.new.tenant] if foreign else job.new.tenant
        assert self.ledger.cancel(tenant, job.new.id) is self.model.cancel(tenant, job)
        if foreign:  # law 8
            assert self.ledger.get(tenant, job.new.id) is None

    @precondition(lambda self: self.model.jobs)
    @rule(n=an_id, reason=st.sampled_from(HoldReason), free=st.booleans(), many=st.integers(1, 3))
    def hold(self, n: int, reason: HoldReason, free: bool, many: int) -> None:
        """Some jobs get a reason not to start, or lose one."""
        jobs = list({job.new.id: job for job in (self.pick(n + k) for k in range(many))}.values())
        self.said(lambda: (self._release_held if free else self._hold)(jobs, reason))

    def _hold(self, jobs: list[ModelJob], reason: HoldReason) -> None:
        expected = [self.model.hold(job, reason) for job in jobs]
        assert self.ledger.hold([job.new.id for job in jobs], reason) == expected

    def _release_held(self, jobs: list[ModelJob], reason: HoldReason) -> None:
        expected = [self.model.release_held(job, reason) for job in jobs]
        assert self.ledger.release_held([job.new.id for job in jobs], reason)[0] == expected

    @rule(
        kind_name=st.sampled_from([("tenant", RICH), ("tenant", FREE), ("pool", "gpu"), ("pool", "fast")]),
        resume=st.booleans(),
    )
    def operator_pauses(self, kind_name: tuple[str, str], resume: bool) -> None:
        kind, name = kind_name
        if resume:
            changed, _ = self.ledger.resume(SwitchKind(kind), name, who="op", why="test")
            assert changed is self.model.resume(kind, name)
        else:
            assert self.ledger.pause(SwitchKind(kind), name, who="op", why="test") is self.model.pause(kind, name)

    @precondition(lambda self: self.model.jobs)
    @rule(n=an_id, tier=st.sampled_from([Tier.URGENT, Tier.NORMAL, None]))
    def operator_moves(self, n: int, tier: Tier | None) -> None:
        """A job becomes urgent, or normal; or it is queued anew."""
        job = self.pick(n)
        if tier is None:
            assert self.ledger.requeue(job.new.id, who="op", why="test")[0] is self.model.requeue(job)
        else:
            assert self.ledger.set_tier(job.new.id, tier, who="op", why="test")[0] is self.model.set_tier(job, tier)

    @precondition(lambda self: self.again)
    @rule()
    def say_it_again(self) -> None:
        self.again()

    @rule(seconds=st.sampled_from([35, 92]), still=seldom)
    def time_passes(self, seconds: int, still: bool) -> None:
        """Workers may have vanished; with `still`, nobody could have renewed a lease or reaped."""
        (outage if still else pass_time)(self.redis, seconds)
        self.model.now += seconds
        if not still and self.model.last_reap is not None:
            self.model.last_reap += seconds

    @rule()
    def reap(self) -> None:
        assert self.ledger.reap().expired == self.model.reap()
        self._delays()

    def _delays(self) -> None:
        """Take over when the new retries may start, and check that it is what was promised."""
        new = [j for j in self.model.jobs.values() if j.at in ("delayed", "held") and j.ready_at != j.ready_at]
        for job, record in zip(new, self.ledger.find_many([job.new.id for job in new]), strict=True):
            assert record is not None
            assert record.not_before_ms is not None
            assert record.queued_ms is not None
            delay_s = (record.not_before_ms - record.queued_ms) / 1000
            shortest = BACKOFF_S * 2 ** (job.used - 1)
            assert shortest <= delay_s <= 1.25 * shortest
            job.ready_at = self.model.now + delay_s

    @rule(amount=st.sampled_from([100, 500, -200, -5000]))
    def topup(self, amount: int) -> None:
        money = self.model.money[RICH]
        if money.balance + amount < money.held and amount < 0:
            with pytest.raises(RequestError):
                self.ledger.topup(RICH, amount)
        else:
            self.ledger.topup(RICH, amount)
            money.balance += amount

    @rule()
    def audit_finds_nothing(self) -> None:
        assert audit(self.ledger, limit=3) == {}

    # --- laws
    @invariant()
    def every_job_stands_where_the_model_says(self) -> None:
        jobs = self.model.jobs
        for model_job, job in zip(jobs.values(), self.ledger.find_many(list(jobs)), strict=True):
            assert job is not None
            got = (job.state, job.attempt, job.attempts_used, job.worker_losses, job.tier)
            assert got == (model_job.state, model_job.attempt, model_job.used, model_job.losses, model_job.tier)
            for code in (FaultCode.POISONOUS, FaultCode.EXPIRED):
                assert (job.error_code == code) == (model_job.error is code)
            assert (job.lease_until_ms is not None) == (model_job.at == "lease")
            assert (job.artifacts is not None) == (job.state is State.SUCCEEDED)
            assert job.purchase_id == model_job.provider_id
            assert (job.purchase is not None) == model_job.bought
            assert set(job.held_for) == model_job.held_for
            assert job.held == (model_job.at == "held")
            assert (job.position is not None) == (model_job.at == "queue" and job.state is State.QUEUED)
            assert job.cancelling == (model_job.cancelling and job.state not in TERMINAL)
            if model_job.state in TERMINAL:  # law 1: one end, for ever
                assert self.ended.setdefault(job.id, job.state) == job.state

    @invariant()
    def queues_delays_leases_and_indexes_are_those_of_the_model(self) -> None:
        found: dict[tuple[str, ...], set[str]] = {}
        for kind in ("queue", "delayed", "held", "holds", "leases", "busy", "jobs"):
            for key in self.redis.scan_iter(f"wf:{kind}:*", count=1000):
                found[tuple(key.split(":")[1:])] = set(self.redis.zrange(key, 0, -1))
        expected: dict[tuple[str, ...], set[str]] = {}
        for job_id, job in self.model.jobs.items():
            expected.setdefault(("jobs", job.new.tenant, job.state), set()).add(job_id)
            for reason in job.held_for:
                expected.setdefault(("holds", job.new.tenant, reason), set()).add(job_id)
            match job.at:
                case "queue":
                    expected.setdefault(("queue", job.line, job.new.tenant), set()).add(job_id)
                case "delayed":
                    expected.setdefault(("delayed", job.pool), set()).add(job_id)
                case "held":
                    expected.setdefault(("held", job.pool), set()).add(job_id)
                case "lease":
                    expected.setdefault(("leases", job.pool), set()).add(job_id)
            if job.busy:
                expected.setdefault(("busy", job.pool, job.new.tenant), set()).add(job_id)
        assert found == expected

    @invariant()
    def money_is_neither_made_nor_lost(self) -> None:
        account, money = self.ledger.credit(RICH), self.model.money[RICH]
        assert account is not None
        assert (account.balance, account.held) == (money.balance, money.held)
        assert 0 <= account.held <= account.balance
        assert self.ledger.credit(FREE) is None

    @invariant()
    def what_is_bought_outside_is_held_and_spent_once(self) -> None:
        month = time.strftime("%Y-%m", time.gmtime())
        scopes = {"farm": self.model.external(), "provider p": self.model.external()}
        scopes |= {f"tenant {tenant}": self.model.external(tenant) for tenant in (RICH, FREE)}
        scopes["overhead"] = self.model.external(wasted=True)
        assert {scope: self.ledger.external_spend(scope, month) for scope in scopes} == scopes
        bills = self.model.bills.values()
        assert len(self.ledger.open_purchases()) == sum(bill.open for bill in bills)

    @invariant()
    def virtual_times_are_those_of_the_model(self) -> None:
        for line in {*self.model.shares, *(job.line for job in self.model.jobs.values())}:
            share = self.model.shares.get(line, Share())
            standing = {tenant for tenant in share.members if self.model._stands(line, tenant)}
            times = dict(self.redis.zrange(f"wf:fair:{line}", 0, -1, withscores=True))
            assert times == pytest.approx({tenant: share.own[tenant] for tenant in standing})
            aside = {tenant for tenant in (RICH, FREE) if self.redis.sismember(f"wf:aside:{tenant}", line)}
            assert aside == share.aside
            # law 7: whoever has queued jobs has its turn, or a limit that holds
            for tenant in (RICH, FREE):
                if queue := self.model._queued(line, tenant):
                    assert (tenant in standing) != (tenant in aside)
                    predicted_ms = sum(round(1000 * job.new.predicted_s) for job in queue)
                    assert int(self.redis.hget(f"wf:backlog:{line}", tenant)) == predicted_ms

    def teardown(self) -> None:
        """Whatever happened: with one patient worker everything that nobody holds ends, once, and is told once."""
        for reason in HoldReason:
            self.ledger.release_held(list(self.model.jobs), reason)
        for kind, name in self.ledger.paused():
            self.ledger.resume(kind, name, who="op", why="the end")
        for _ in range(40):
            if not self.redis.exists(*[f"wf:jobs:{t}:{s}" for t in (RICH, FREE) for s in State if s not in TERMINAL]):
                break
            pass_time(self.redis, 100)
            self.ledger.reap()
            for pool in (INTAKE_POOL, BURST_POOL, *POOLS):
                while claim := self.ledger.claim(pool, "patient"):
                    if pool == INTAKE_POOL:
                        self.ledger.intake_done(claim.job.id, claim.attempt, {"image": InputRef(key="k")})
                    else:
                        self.ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=1)
        self._everything_ended_once()

    def _everything_ended_once(self) -> None:
        jobs = {job.id: job for job in self.ledger.find_many(list(self.model.jobs)) if job}
        assert {job.state in TERMINAL for job in jobs.values()} <= {True}
        assert len(jobs) == len(self.model.jobs)
        ends = [
            (event.job, event.data["state"])
            for tenant in (RICH, FREE)
            for event in self.ledger.events(tenant, after="0", count=10_000)
            if event.data["state"] in TERMINAL
        ]
        assert sorted(ends) == sorted((job.id, job.state) for job in jobs.values())
        told = [(fields["job"], fields["state"]) for _, fields in self.redis.xrange("wf:outbox")]
        assert sorted(told) == sorted((job.id, job.state) for job in jobs.values() if job.webhook_url)
        self._statement_adds_up()
        assert audit(self.ledger) == {}

    def _statement_adds_up(self) -> None:
        lines = self.ledger.statement(RICH, count=10_000)
        held: dict[str, int] = {}
        closed: list[str] = []
        # a hold is opened, changed by what its job's clip turns out to cost, and closed once with all of it
        for line in lines:
            job = line.job or ""
            match line.kind:
                case StatementKind.HOLD:
                    held[job] = held.get(job, 0) + line.amount
                case StatementKind.RELEASE if line.note:
                    held[job] -= line.amount
                case StatementKind.SETTLE | StatementKind.RELEASE:
                    assert held[job] == line.amount
                    closed.append(job)
        assert sorted(closed) == sorted(held)
        sign = {StatementKind.TOPUP: 1, StatementKind.SETTLE: -1}
        account = self.ledger.credit(RICH)
        assert account is not None
        assert (account.balance, account.held) == (sum(sign.get(line.kind, 0) * line.amount for line in lines), 0)


def _named(job: ModelJob, nonce: str) -> str:
    """A submission's name is nobody else's."""
    return f"{job.new.id}-{nonce}"


#: with every landing; `make soak` goes on from there, each time elsewhere
EXAMPLES, SOAK_EXAMPLES = 20, 300


def walk(redis: Redis, redis_settings: RedisSettings, examples: int, *, the_same: bool) -> None:
    asked = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        derandomize=the_same,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: LedgerMachine(redis, redis_settings), settings=asked)


@pytest.mark.long
@pytest.mark.timeout(900)  # finding the shortest way to a failure takes a while
def test_the_laws_hold_whatever_happens(redis: Redis, redis_settings: RedisSettings) -> None:
    walk(redis, redis_settings, EXAMPLES, the_same=bool(os.environ.get("CI")))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_laws_hold_on_many_more_ways(redis: Redis, redis_settings: RedisSettings) -> None:
    walk(redis, redis_settings, SOAK_EXAMPLES, the_same=False)
