"""Calls that execute and are never heard of, and calls that are executed twice: the laws stay as they are."""

import random
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from ledger_parts import ARTIFACTS, BROKE, DIED, POOL, ByNumber, admit, audit, claimed, new_job, pass_time
from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from farm.config import RedisSettings, Settings
from farm.jobs.errors import RequestError, Unavailable
from farm.jobs.job import Claim
from farm.jobs.spec import InputRef
from farm.jobs.states import TERMINAL, State
from farm.ledger import INTAKE_POOL, Ledger, StatementKind, Verdict

T = TypeVar("T")


class AfterScripts(Connection):
    """A connection that may break when a script has been executed, before its answer is heard."""

    ran = False

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        super().send_packed_command(command, check_health)
        self.ran = any(b"EVAL" in part for part in command)

    def read_response(self, *args: Any, **options: Any) -> Any:
        answer, ran = super().read_response(*args, **options), self.ran
        self.ran = False
        if ran and self.breaks():
            self.disconnect()
            raise RedisConnectionError("the answer was lost")
        return answer

    def breaks(self) -> bool:
        """Whether it breaks this time."""
        raise NotImplementedError


class Lossy(AfterScripts):
    """Breaks after one in three calls that may write."""

    chance = random.Random()
    lost = 0

    def breaks(self) -> bool:
        lost = self.chance.random() < 1 / 3
        Lossy.lost += lost
        return lost


class Doubled(AfterScripts):
    """Breaks after every script; the client sends the same bytes again."""

    again = False

    def breaks(self) -> bool:
        self.again = not self.again
        return self.again


def client_of(settings: RedisSettings, connection: type[Connection], repeats: int) -> Redis:
    """A client that sends a command so many times more when its connection broke."""
    return Redis.from_url(
        settings.ledger_url,
        decode_responses=True,
        connection_class=connection,
        retry=Retry(NoBackoff(), repeats, supported_errors=(RedisConnectionError,)),
    )


@pytest.fixture
def doubled(redis_settings: RedisSettings, ledger_settings: Settings) -> Iterator[Ledger]:
    with client_of(redis_settings, Doubled, 1) as client:
        yield ByNumber(client, ledger_settings)


def insisting(call: Callable[[], T]) -> T:
    """What a caller does who has to know: say it again until there is an answer."""
    while True:
        try:
            return call()
        except Unavailable:
            continue


class Crowd:
    """Submitters and workers over a lossy ledger. A worker that does not hear the answer to its claim just asks again:
    that lease is nobody's until it is reaped."""

    def __init__(self, ledger: Ledger, redis: Redis, chance: random.Random) -> None:
        self.ledger, self.redis, self.chance = ledger, redis, chance
        self.acknowledged: set[str] = set()
        self.leases: list[Claim] = []

    def step(self) -> None:
        move = self.chance.choices(
            [self.submit, self.take, self.finish, self.cancel, self.wait], weights=[3, 6, 6, 1, 1]
        )[0]
        move()

    def submit(self) -> None:
        jobs = [
            new_job(
                self.chance.choice(["acme", "other"]),
                intake=self.chance.random() < 0.2,
                hold=self.chance.choice([0, 10, 40]),
                idempotency_key=self.chance.choice([None, "k1", "k2"]),
                body_sha256="b",
                webhook_url="https://example.org/hook",
            )
            for _ in range(self.chance.randint(1, 3))
        ]
        try:
            answers, _ = insisting(lambda: self.ledger.admit(jobs))
        except RequestError:
            return
        self.acknowledged |= {answer.id for answer in answers}

    def take(self) -> None:
        pool = self.chance.choice([POOL, POOL, INTAKE_POOL])
        try:
            claim = self.ledger.claim(pool, "w")
        except Unavailable:
            return
        if claim:
            self.leases.append(claim)

    def finish(self) -> None:
        if not self.leases:
            return
        claim = self.leases.pop(self.chance.randrange(len(self.leases)))
        job_id, attempt = claim.job.id, claim.attempt
        if insisting(lambda: self.ledger.heartbeat(job_id, attempt)) is Verdict.LOST:
            return
        if claim.job.state is State.WAITING:
            insisting(lambda: self.ledger.intake_done(job_id, attempt, {"image": InputRef(key="k")}))
            return
        ending = self.chance.randrange(6)
        if ending == 0:
            insisting(lambda: self.ledger.fail(job_id, attempt, self.chance.choice([BROKE, DIED]), gpu_s=3))
        elif ending == 1:
            insisting(lambda: self.ledger.release(job_id, attempt))
        elif ending > 2:
            insisting(lambda: self.ledger.commit(job_id, attempt, ARTIFACTS, gpu_s=9))

    def cancel(self) -> None:
        if self.acknowledged:
            job = self.ledger.find  # reading loses answers too
            job_id = self.chance.choice(sorted(self.acknowledged))
            found = insisting(lambda: job(job_id))
            assert found is not None
            insisting(lambda: self.ledger.cancel(found.tenant, job_id))

    def wait(self) -> None:
        pass_time(self.redis, self.chance.choice([5, 20, 46]))
        insisting(self.ledger.reap)

    def drain(self) -> None:
        for _ in range(100):
            if not any(count for state, count in insisting(self.ledger.counts).items() if state not in TERMINAL):
                return
            pass_time(self.redis, 100)
            insisting(self.ledger.reap)
            for pool in (INTAKE_POOL, POOL):
                while insisting(lambda: self.ledger.permits_wanted(INTAKE_POOL)) is not None:
                    claim = insisting(lambda: self.ledger.claim(pool, "patient"))  # noqa: B023
                    if claim is None:
                        break
                    self.leases = [claim]
                    self.finish()
        raise AssertionError("jobs were left")


@pytest.mark.parametrize("seed", range(6))
def test_a_history_full_of_lost_replies_ends_as_it_should(
    seed: int, redis: Redis, redis_settings: RedisSettings, ledger_settings: Settings
) -> None:
    Lossy.chance, Lossy.lost = random.Random(seed), 0
    redis.hset("wf:tenant:acme", "max_open", 20)
    with client_of(redis_settings, Lossy, 0) as client:
        lossy = ByNumber(client, ledger_settings)
        insisting(lambda: lossy.topup("acme", 1000, reference="payment"))
        crowd = Crowd(lossy, redis, random.Random(seed))
        for _ in range(250):
            crowd.step()
        crowd.drain()
    assert Lossy.lost > 100
    ledger = ByNumber(redis, ledger_settings)
    assert audit(ledger) == {}
    jobs = [job for page_tenant in ("acme", "other") for job in ledger.page(page_tenant, limit=1000).jobs]
    assert crowd.acknowledged <= {job.id for job in jobs}
    assert all(job.state in TERMINAL for job in jobs)
    told = sorted(entry.job for entry in ledger.outbox_read("c", count=1000))
    assert told == sorted(job.id for job in jobs)
    account = ledger.credit("acme")
    assert account is not None
    spent = sum(job.charged or 0 for job in jobs if job.tenant == "acme")
    assert (account.balance, account.held) == (1000 - spent, 0)
    kinds = [line.kind for line in ledger.statement("acme", count=10_000)]
    assert kinds.count(StatementKind.TOPUP) == 1
    assert kinds.count(StatementKind.HOLD) == kinds.count(StatementKind.SETTLE) + kinds.count(StatementKind.RELEASE)


def test_a_call_that_is_executed_twice_is_one_call(doubled: Ledger, ledger: Ledger) -> None:
    doubled.topup("acme", 1000)
    first, second, third = admit(doubled, *[new_job(hold=100, priority=n) for n in (9, 8, 7)])
    assert claimed(doubled).job.id == first
    assert claimed(doubled).job.id == second
    assert doubled.counts("acme")[State.RUNNING] == 2
    doubled.commit(first, 1, ARTIFACTS, gpu_s=1)
    doubled.fail(second, 1, BROKE)
    doubled.cancel("acme", third)
    jobs = [job for job in ledger.find_many([first, second, third]) if job]
    assert [job.state for job in jobs] == [State.SUCCEEDED, State.QUEUED, State.CANCELLED]
    assert jobs[1].attempts_used == 1
    account = ledger.credit("acme")
    assert account is not None
    assert (account.balance, account.held) == (900, 100)
    ended = [event.job for event in ledger.events("acme", after="0") if event.data["state"] in TERMINAL]
    assert ended == [first, third]
    assert audit(ledger) == {}


def test_every_attempt_of_a_doubled_life_counts_once(doubled: Ledger, redis: Redis) -> None:
    [job_id] = admit(doubled, new_job(max_attempts=3))
    for attempt in (1, 2, 3):
        assert claimed(doubled).attempt == attempt
        doubled.fail(job_id, attempt, BROKE)
        pass_time(redis, 30)
    job = doubled.find(job_id)
    assert job is not None
    assert (job.state, job.attempts_used) == (State.FAILED, 3)
