"""A cancel reaches the worker by being told; a message that is lost is made up for by the heartbeat."""

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


def claimed(ledger: Ledger) -> Claim:
    ledger.admit([NewJob(new_job_id(), "acme", SPEC, "gpu", "lane", 1.0, 60.0)])
    claim = ledger.claim("gpu", "w")
    assert claim is not None
    return claim


def listens(redis: Redis, worker: str = "w") -> bool:
    return bool(dict(redis.pubsub_numsub(f"wf:notices:{worker}"))[f"wf:notices:{worker}"])


def test_a_cancel_is_heard_between_two_heartbeats(ledger: Ledger, redis: Redis, settings: Settings) -> None:
    heard = list[Verdict]()
    mine, other = claimed(ledger), claimed(ledger)
    keeper = LeaseKeeper(Ledger(connect(settings.redis), settings), LONG_S, "w")
    leases = [keeper.hold(mine, heard.append), keeper.hold(other, lambda _: heard.append(Verdict.LOST))]
    wait_until(lambda: listens(redis), what="the worker to listen")
    ledger.cancel("acme", mine.job.id)
    wait_until(lambda: heard, what="the cancel")
    assert heard == [Verdict.CANCEL]
    for lease in leases:
        lease.drop()


def test_a_job_that_waited_too_long_is_told_too(ledger: Ledger, redis: Redis, settings: Settings) -> None:
    heard = list[Verdict]()
    claim = claimed(ledger)
    lease = LeaseKeeper(Ledger(connect(settings.redis), settings), LONG_S, "w").hold(claim, heard.append)
    wait_until(lambda: listens(redis), what="the worker to listen")
    redis.hset(f"wf:job:{claim.job.id}", "expires_ms", 1)
    redis.zadd("wf:due", {claim.job.id: 1})
    ledger.reap()
    wait_until(lambda: heard, what="the end")
    assert heard == [Verdict.CANCEL]
    lease.drop()


def test_what_was_told_to_nobody_is_heard_at_the_heartbeat(ledger: Ledger, settings: Settings) -> None:
    heard = list[Verdict]()
    claim = claimed(ledger)
    # the one that it is told to is another
    lease = LeaseKeeper(Ledger(connect(settings.redis), settings), SHORT_S, "somebody-else").hold(claim, heard.append)
    ledger.cancel("acme", claim.job.id)
    wait_until(lambda: heard, what="the heartbeat's answer")
    assert heard[0] == Verdict.CANCEL
    lease.drop()


def test_it_listens_again_when_its_connection_was_cut(ledger: Ledger, redis: Redis, settings: Settings) -> None:
    heard = list[Verdict]()
    claim = claimed(ledger)
    lease = LeaseKeeper(Ledger(connect(settings.redis), settings), LONG_S, "w").hold(claim, heard.append)
    wait_until(lambda: listens(redis), what="the worker to listen")
    redis.client_kill_filter(_type="pubsub")
    wait_until(lambda: listens(redis), what="the worker to listen again")
    ledger.cancel("acme", claim.job.id)
    wait_until(lambda: heard, what="the cancel")
    lease.drop()
