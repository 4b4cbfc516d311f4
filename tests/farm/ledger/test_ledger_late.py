"""Law 10: a call that was given up does not run later, whatever buffer it was held in."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest
from ledger_parts import POOL, admit, claimed, new_job, pass_time
from redis import Redis
from spare_redis import SpareRedis

from farm.config import RedisSettings, Settings
from farm.jobs.errors import Unavailable
from farm.jobs.states import State
from farm.ledger import INTAKE_POOL, Ledger, connect
from farm.ledger.scripts import UNHEARD_MOST
from farm.ledger.server_clock import ServerClock

SpareServer = Callable[..., SpareRedis]


def patient(server: SpareRedis, timeout_s: float = 10.0) -> Ledger:
    settings = Settings(redis=RedisSettings(ledger_url=server.url, socket_timeout_s=timeout_s, waitaof=False))
    return Ledger(connect(settings.redis), settings)


def impatient(server: SpareRedis) -> Ledger:
    """One that waits for little. It knows the server's clock already, and the server the claim's script."""
    ledger = patient(server, timeout_s=0.4)
    for _ in range(50):
        # on a busy machine that little is not enough for a first call
        with suppress(Unavailable):
            assert ledger.claim("elsewhere", "w1") is None
            return ledger
    raise AssertionError("the server never answered in time")


def given_up(server: SpareRedis, call: Callable[[], object]) -> None:
    """The server stands still for as long as the caller waits, and then carries out all that it finds."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            call()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    with server.client() as redis:
        # answered after everything that was held up
        redis.ping()


def test_a_claim_that_was_given_up_takes_no_lease(spare_redis: SpareServer) -> None:
    server = spare_redis()
    ledger, hasty = patient(server), impatient(server)
    [job_id] = admit(ledger, new_job())
    given_up(server, lambda: hasty.claim(POOL, "w1"))
    job = ledger.find(job_id)
    assert job is not None
    assert (job.state, job.attempt, job.lease_until_ms) == (State.QUEUED, 0, None)
    assert claimed(ledger).attempt == 1


def test_a_job_whose_caller_was_told_that_it_was_not_stored_is_not_stored(spare_redis: SpareServer) -> None:
    server = spare_redis()
    ledger, hasty = patient(server), impatient(server)
    ledger.topup("acme", 1000)
    job = new_job(hold=100)
    # it knows the server's clock, and the server the script
    admit(ledger, new_job("globex"))
    assert hasty.claim("elsewhere", "w1") is None
    given_up(server, lambda: hasty.admit([job]))
    account = ledger.credit("acme")
    assert account is not None
    assert (ledger.find(job.id), account.held) == (None, 0)
    # sent again, it is a job like any other
    assert admit(ledger, job) == [job.id]


def test_a_repeated_claim_runs_until_its_caller_goes_on(ledger: Ledger) -> None:
    [job_id] = admit(ledger, new_job())
    with pytest.raises(Unavailable, match="too late"):
        ledger.claim(POOL, "w1", patience_s=-1.0)
    claim = ledger.claim(POOL, "w1", patience_s=15.0, nonce="n")
    assert claim is not None
    again = ledger.claim(POOL, "w1", patience_s=5.0, nonce="n")
    assert again is not None
    assert (again.job.id, again.attempt) == (job_id, claim.attempt)


@pytest.mark.parametrize("pool", [POOL, INTAKE_POOL])
def test_a_lease_that_nobody_ever_renewed_is_handed_back_uncounted(pool: str, ledger: Ledger, redis: Redis) -> None:
    [job_id] = admit(ledger, new_job(intake=pool == INTAKE_POOL))
    for attempt in range(1, UNHEARD_MOST + 1):
        assert claimed(ledger, pool, heard=False).attempt == attempt
        pass_time(redis, 50)
        assert ledger.reap().requeued == 1
        job = ledger.find(job_id)
        assert job is not None
        assert (job.attempts_used, job.worker_losses, job.not_before_ms) == (0, 0, None)


def test_a_job_that_ends_its_worker_before_the_first_heartbeat_does_not_come_back_for_ever(
    ledger: Ledger, redis: Redis
) -> None:
    [job_id] = admit(ledger, new_job())
    for _ in range(UNHEARD_MOST + 2):
        claimed(ledger, heard=False)
        pass_time(redis, 50)
        ledger.reap()
        pass_time(redis, 50)
    job = ledger.find(job_id)
    assert job is not None
    assert (job.state, job.error_code, job.worker_losses) == (State.FAILED, "poisonous", 2)


def test_a_lease_that_was_renewed_once_counts_when_it_is_lost(ledger: Ledger, redis: Redis) -> None:
    [job_id] = admit(ledger, new_job())
    claimed(ledger)
    pass_time(redis, 50)
    ledger.reap()
    job = ledger.find(job_id)
    assert job is not None
    assert (job.attempts_used, job.worker_losses) == (1, 1)


class TestServerClock:
    def test_it_asks_once_in_a_while(self) -> None:
        asked, now = [], [0.0]

        def ask() -> int:
            asked.append(now[0])
            return 1_000_000 + int(now[0] * 1000)

        clock = ServerClock(ask, lambda: now[0])
        for now[0] in (1.0, 5.0, 11.0, 12.5):
            assert clock.in_ms(2.0) == 1_002_000 + int(now[0] * 1000)
        assert asked == [1.0, 12.5]

    def test_a_clock_that_was_set_is_learned_from_a_refusal(self, ledger: Ledger) -> None:
        admit(ledger, new_job())
        # as if the server's clock had gone forward by an hour since
        ledger._server_clock.learn(int(ledger.run("now")) - 3_600_000)
        assert ledger.claim(POOL, "w1") is not None
