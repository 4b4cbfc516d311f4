"""A part of a pool is kept for tenants below their share."""

import pytest
from ledger_parts import ARTIFACTS, POOL, ByNumber, admit, claimed, new_job
from redis import Redis

from farm.config import PoolSettings, RedisSettings, Settings
from farm.jobs.states import Tier
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger
from farm.scheduling.offers import Takers
from farm.wire.own_explain import Binds, explain


@pytest.fixture
def ledger(redis: Redis, redis_settings: RedisSettings) -> Ledger:
    kept = {"other": PoolSettings(headroom=0.9), POOL: PoolSettings(headroom=0.25)}
    found = ByNumber(redis, Settings(redis=redis_settings, pools=kept))
    for n in range(8):
        found.worker_seen(f"w{n}", POOL, WorkerStatus(), ttl_s=60)
    return found


def test_who_is_alone_leaves_a_quarter_to_whoever_comes(ledger: Ledger) -> None:
    ids = admit(ledger, *[new_job("alone") for _ in range(12)])
    running = [claimed(ledger, worker=f"w{n}") for n in range(6)]
    assert ledger.claim(POOL, "w6") is None
    job, standing = ledger.find(ids[-1]), ledger.standing(ids[-1])
    assert job is not None
    assert standing is not None
    assert explain(job, standing, takers=Takers(1, 1, 1, held=True)).binds is Binds.HEADROOM
    admit(ledger, new_job("late"), new_job("late"))
    late = [claimed(ledger, worker=f"w{n}") for n in (6, 7)]
    assert {one.job.tenant for one in late} == {"late"}
    # its six are its own again when one of them ends; the slot of another is kept
    ledger.commit(running[0].job.id, running[0].attempt, ARTIFACTS, gpu_s=10)
    assert claimed(ledger, worker="w0").job.tenant == "alone"
    ledger.commit(late[0].job.id, late[0].attempt, ARTIFACTS, gpu_s=10)
    assert ledger.claim(POOL, "w6") is None


def test_nothing_is_kept_where_several_want_the_pool(ledger: Ledger) -> None:
    admit(ledger, *[new_job(tenant) for tenant in ("a", "b") for _ in range(6)])
    assert {claimed(ledger, worker=f"w{n}").job.tenant for n in range(8)} == {"a", "b"}


def test_what_is_urgent_takes_every_slot(ledger: Ledger) -> None:
    ids = admit(ledger, *[new_job("alone") for _ in range(8)])
    for job_id in ids:
        ledger.set_tier(job_id, Tier.URGENT, who="op", why="test")
    assert all(ledger.claim(POOL, f"w{n}") for n in range(8))
