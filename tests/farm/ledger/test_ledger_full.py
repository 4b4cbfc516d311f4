"""A full Redis: what is there goes on to its end, what is new is refused in words."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from batch_parts import Manifest
from ledger_parts import ARTIFACTS, BROKE, POOL, ByNumber, admit, claimed, new_job
from redis import Redis
from redis.exceptions import RedisError
from spare_redis import SpareRedis

from farm.config import RedisSettings, Settings
from farm.jobs.batch import ActKind
from farm.jobs.errors import Unavailable
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import CancelOutcome, CommitOutcome, FailOutcome, Ledger, Verdict, connect
from farm.tenants.tenants import Tenants
from farm.webhooks.deliveries import Deliveries


@pytest.fixture
def server(spare_redis: Callable[..., SpareRedis]) -> SpareRedis:
    return spare_redis("--maxmemory", "12mb")


@pytest.fixture
def on_server(server: SpareRedis) -> Settings:
    return Settings(redis=RedisSettings(ledger_url=server.url, waitaof=False))


def fill(server: SpareRedis) -> None:
    with server.client() as redis:
        with suppress(RedisError):
            for n in range(10_000):
                redis.set(f"filler:{n}", "x" * 50_000)
        # used_memory counts buffers that the limit does not (the append-only file's among them), and they come and go:
        # only what is far over the limit stays over it
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) // 2)


def test_what_is_there_goes_on_and_what_is_new_is_refused_in_words(server: SpareRedis, on_server: Settings) -> None:
    ledger = ByNumber(connect(on_server.redis), on_server)
    ledger.topup("acme", 1000)
    ledger.worker_seen("w1", POOL, WorkerStatus(), ttl_s=60)
    ids = admit(ledger, *[new_job(hold=5, priority=9 - n, webhook_url="https://example.org/h") for n in range(6)])
    running = [claimed(ledger).job.id for _ in range(4)]
    with server.client() as redis:
        redis.hset("wf:tenant:acme", mapping={"rate_per_minute": 60, "rate_burst": 2})
    # the consumers' group is there as soon as an io worker has looked
    ledger.outbox_read("c")
    fill(server)

    with pytest.raises(Unavailable, match="memory is full") as refused:
        ledger.admit([new_job(hold=5)])
    assert refused.value.retry_after_s >= 10
    assert ledger.worker_seen("w1", POOL, WorkerStatus(device="x"), ttl_s=60) is None  # type: ignore[func-returns-value]
    claim = ledger.claim(POOL, "w1")
    assert claim is not None
    assert claim.job.id == ids[4]
    assert ledger.heartbeat(running[0], 1) is Verdict.GO
    assert ledger.heartbeat(running[0], 1, phase="denoising", progress=0.5) is Verdict.GO
    assert ledger.commit(running[0], 1, ARTIFACTS, gpu_s=1) is CommitOutcome.COMMITTED
    assert ledger.fail(running[1], 1, BROKE)[0] is FailOutcome.RETRY
    assert ledger.release(running[2], 1)[0] is FailOutcome.RETRY
    assert ledger.cancel("acme", running[3]) is CancelOutcome.CANCELLING
    assert ledger.cancel("acme", ids[5]) is CancelOutcome.CANCELLED
    assert ledger.reap().expired == 0
    ledger.permits_wanted(POOL)
    assert ledger.rate("acme").allowed
    # reading
    assert {job.id for job in ledger.page("acme").jobs} == set(ids)
    assert ledger.counts("acme")[State.SUCCEEDED] == 1
    assert ledger.counts()[State.SUCCEEDED] == 1
    entries = ledger.outbox_read("c")
    assert {entry.job for entry in entries} == {running[0], ids[5]}
    ledger.outbox_ack([entry.id for entry in entries])
    assert ledger.outbox_size() == 0
    # and what makes room
    assert len(ledger.forget(10**15)) == 2


def test_acts_on_a_batch_go_on_but_a_retry(server: SpareRedis, on_server: Settings) -> None:
    ledger = ByNumber(connect(on_server.redis), on_server)
    batch = Manifest(3).admit(ledger)
    fill(server)
    for kind in (ActKind.PAUSE, ActKind.RESUME, ActKind.CANCEL):
        assert ledger.begin_act(kind, "acme", batch.id, kind)
        while ledger.step_act(kind)[0]:
            pass
        assert ledger.acts([batch.id])[0][0].changed == 3
    # it would make jobs
    with pytest.raises(Unavailable, match="memory is full"):
        ledger.begin_act("retry", "acme", batch.id, ActKind.RETRY)


def test_a_full_farm_still_knows_its_keys_and_revokes_them(server: SpareRedis, on_server: Settings) -> None:
    redis = connect(on_server.redis)
    tenants = Tenants(redis, on_server)
    tenants.create("acme")
    key, secret = tenants.api_keys.create("acme")
    fill(server)
    keys = Tenants(redis, on_server).api_keys
    assert keys.authenticate(secret) is not None
    keys.revoke(key.id)
    assert Tenants(redis, on_server).api_keys.authenticate(secret) is None


def test_what_was_scheduled_is_delivered_from_a_full_farm(server: SpareRedis, on_server: Settings) -> None:
    deliveries = Deliveries(connect(on_server.redis), on_server)
    told = {"tenant": "acme", "url": "https://example.org/h", "dialect": "farm", "receiver": "acme|example.org"}
    for name in "abc":
        deliveries.schedule(name, job=name, **told)
    fill(server)
    deliveries.schedule("d", job="d", **told)
    taken = deliveries.take(4, suspects=4, lease_s=30)
    assert {one.id for one in taken} == set("abcd")
    assert deliveries.delivered("a")
    assert deliveries.retry("b", status=500, error="no", pause_s=1)
    assert deliveries.bury("c", status=500, error="no")


def test_the_door_that_scripts_go_on_through_leaves_nothing(ledger: Ledger, redis: Redis) -> None:
    admit(ledger, new_job())
    claimed(ledger)
    assert redis.exists("wf:nothing") == 0
