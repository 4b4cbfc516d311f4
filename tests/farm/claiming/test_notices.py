"""A cancel reaches the worker by being told; a message that is lost is made up for by the heartbeat."""

import threading
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from farm.claiming.leases import LeaseKeeper
from farm.config import LeaseSettings, RedisSettings, Settings
from farm.jobs.ids import new_job_id
from farm.jobs.job import Claim, NewJob
from farm.jobs.spec import JobSpec
from farm.ledger import Ledger, Verdict, connect
from tests.conftest import wait_until

#: its third is longer than any test waits: what is heard was told
LONG_S, SHORT_S = 900.0, 3.0
SPEC = JobSpec("m", "t2v", "a fox", "", 832, 480, 5, 16, 2, 4.0, None, 12.0, 1)


@pytest.fixture
def settings(redis_settings: RedisSettings) -> Settings:
    return Settings(redis=redis_settings, lease=LeaseSettings(seconds=LONG_S, stuck_s=2000))


@pytest.fixture
def ledger(redis: Redis, settings: Settings) -> Ledger:
    return Ledger(redis, settings)


Keeper = Callable[[float, str], LeaseKeeper]


@pytest.fixture
def keeper(settings: Settings) -> Iterator[Keeper]:
    """keeper(lease_s, worker). None listens on when its test is over: the next one's would be thought to."""
    made: list[LeaseKeeper] = []

    def make(lease_s: float, worker: str) -> LeaseKeeper:
        made.append(LeaseKeeper(Ledger(connect(settings.redis), settings), lease_s, worker))
        return made[-1]

    yield make
    for one in made:
        one.close()


def claimed(ledger: Ledger) -> Claim:
    ledger.admit([NewJob(new_job_id(), "acme", SPEC, "gpu", "lane", 1.0, 60.0)])
    claim = ledger.claim("gpu", "w")
    assert claim is not None
    return claim


def listens(redis: Redis, worker: str = "w") -> bool:
    return bool(dict(redis.pubsub_numsub(f"wf:notices:{worker}"))[f"wf:notices:{worker}"])


def test_a_cancel_is_heard_between_two_heartbeats(ledger: Ledger, redis: Redis, keeper: Keeper) -> None:
    heard = list[Verdict]()
    mine, other = claimed(ledger), claimed(ledger)
    shared = keeper(LONG_S, "w")
    leases = [shared.hold(mine, heard.append), shared.hold(other, lambda _: heard.append(Verdict.LOST))]
    wait_until(lambda: listens(redis), what="the worker to listen")
    ledger.cancel("acme", mine.job.id)
    wait_until(lambda: heard, what="the cancel")
    # twice, where the first heartbeat of all came after the cancel
    assert set(heard) == {Verdict.CANCEL}
    for lease in leases:
        lease.drop()


def test_a_job_that_waited_too_long_is_told_too(ledger: Ledger, redis: Redis, keeper: Keeper) -> None:
    heard = list[Verdict]()
    claim = claimed(ledger)
    lease = keeper(LONG_S, "w").hold(claim, heard.append)
    wait_until(lambda: listens(redis), what="the worker to listen")
    redis.hset(f"wf:job:{claim.job.id}", "expires_ms", 1)
    redis.zadd("wf:due", {claim.job.id: 1})
    ledger.reap()
    wait_until(lambda: heard, what="the end")
    assert heard == [Verdict.CANCEL]
    lease.drop()


def test_what_was_told_to_nobody_is_heard_at_the_heartbeat(ledger: Ledger, keeper: Keeper) -> None:
    heard = list[Verdict]()
    claim = claimed(ledger)
    # the one that it is told to is another
    lease = keeper(SHORT_S, "somebody-else").hold(claim, heard.append)
    ledger.cancel("acme", claim.job.id)
    wait_until(lambda: heard, what="the heartbeat's answer")
    assert heard[0] == Verdict.CANCEL
    lease.drop()


def test_it_listens_again_when_its_connection_was_cut(ledger: Ledger, redis: Redis, keeper: Keeper) -> None:
    heard = list[Verdict]()
    claim = claimed(ledger)
    lease = keeper(LONG_S, "w").hold(claim, heard.append)
    wait_until(lambda: listens(redis), what="the worker to listen")
    redis.client_kill_filter(_type="pubsub")
    wait_until(lambda: listens(redis), what="the worker to listen again")
    ledger.cancel("acme", claim.job.id)
    wait_until(lambda: heard, what="the cancel")
    lease.drop()


def test_a_keeper_that_is_closed_has_no_threads(ledger: Ledger, redis: Redis, keeper: Keeper) -> None:
    """Nor a connection; also where the next heartbeat is minutes away."""
    before = set(threading.enumerate())
    closing = keeper(LONG_S, "closing")
    closing.hold(claimed(ledger), lambda _: None)
    wait_until(lambda: listens(redis, "closing"), what="it to listen")
    mine = set(threading.enumerate()) - before
    assert {thread.name for thread in mine} == {"leases", "notices"}
    closing.close()
    wait_until(lambda: not any(thread.is_alive() for thread in mine), what="its threads to end")
    wait_until(lambda: not listens(redis, "closing"), what="its connection to end")
