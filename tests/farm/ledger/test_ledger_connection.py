"""When Redis is away, full, or has forgotten the scripts: one kind of error, and nothing half-written."""

import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
from ledger_parts import ARTIFACTS, ByNumber, admit, audit, claimed, new_job
from redis import Redis
from redis._parsers import _HiredisParser
from waitaof_proxy import WaitAof

from farm.config import RedisSettings, Settings
from farm.jobs.errors import Unavailable
from farm.jobs.states import State
from farm.ledger import CommitOutcome, Ledger, connect


def test_a_redis_that_is_not_there(redis_settings: RedisSettings, ledger_settings: Settings) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        nowhere = redis_settings.model_copy(update={"ledger_url": f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"})
        ledger = ByNumber(connect(nowhere), ledger_settings)
        for call in (
            lambda: ledger.admit([new_job()]),
            lambda: ledger.claim("gpu", "w"),
            lambda: ledger.page("acme"),
            lambda: ledger.events("acme", after="0"),
            lambda: ledger.credit("acme"),
            lambda: ledger.outbox_read("c"),
            ledger.reap,
            ledger.audit,
        ):
            with pytest.raises(Unavailable):
                call()


def test_a_frozen_redis_is_not_waited_for_for_ever(
    redis: Redis, redis_settings: RedisSettings, ledger_settings: Settings
) -> None:
    ledger = ByNumber(connect(redis_settings.model_copy(update={"socket_timeout_s": 0.2})), ledger_settings)
    # nothing that could write is carried out; the end of the pause is
    redis.client_pause(60_000, all=False)
    try:
        with pytest.raises(Unavailable):
            ledger.claim("gpu", "w")
    finally:
        redis.client_unpause()


def test_a_full_redis_refuses_and_keeps_nothing_half(ledger: Ledger, redis: Redis) -> None:
    admit(ledger, new_job())
    keys = redis.dbsize()
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable):
            ledger.admit([new_job(), new_job()])
    finally:
        redis.config_set("maxmemory", 0)
    assert redis.dbsize() == keys
    assert ledger.counts("acme")[State.QUEUED] == 1


def test_a_read_only_redis_is_unavailable(ledger: Ledger, redis: Redis) -> None:
    admit(ledger, new_job())
    redis.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(Unavailable):
            ledger.claim("gpu", "w")
    finally:
        redis.replicaof("NO", "ONE")
    assert ledger.claim("gpu", "w") is not None


def test_scripts_that_the_server_forgot_are_sent_again(ledger: Ledger, redis: Redis) -> None:
    admit(ledger, new_job())
    redis.script_flush()
    claim = claimed(ledger)
    assert ledger.commit(claim.job.id, 1, ARTIFACTS, gpu_s=1) is CommitOutcome.COMMITTED


def test_a_broken_connection_is_replaced_without_a_word(redis: Redis, redis_settings: RedisSettings) -> None:
    client = connect(redis_settings)
    ledger = ByNumber(client, Settings(redis=redis_settings))
    admit(ledger, new_job())
    for address in [c["addr"] for c in redis.client_list() if c["name"] == "wanfarm-ledger"]:
        redis.client_kill_filter(addr=address)
    assert claimed(ledger).attempt == 1


def test_answers_are_read_by_compiled_code(redis_settings: RedisSettings) -> None:
    client = connect(redis_settings)
    connection = client.connection_pool.get_connection()
    assert isinstance(connection._parser, _HiredisParser)
    client.connection_pool.release(connection)


def test_a_mistake_of_ours_is_not_an_outage(ledger: Ledger, redis: Redis) -> None:
    redis.set("wf:jobs:acme:queued", "not an index")
    with pytest.raises(Exception, match="WRONGTYPE"):
        ledger.admit([new_job()])


def test_several_farms_share_a_database(redis: Redis, redis_settings: RedisSettings) -> None:
    farms = [
        ByNumber(redis, Settings(redis=redis_settings.model_copy(update={"prefix": prefix})))
        for prefix in ("one", "two")
    ]
    admit(farms[0], new_job())
    assert farms[1].claim("gpu", "w") is None
    assert farms[0].claim("gpu", "w") is not None
    assert {key.partition(":")[0] for key in redis.keys("*")} == {"one", "two"}


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols_of_redis_are_understood(
    protocol: int, redis_settings: RedisSettings, ledger_settings: Settings, redis: Redis
) -> None:
    with Redis.from_url(redis_settings.ledger_url, decode_responses=True, protocol=protocol) as client:
        ledger = ByNumber(client, ledger_settings)
        ledger.topup("acme", 100)
        done, gone = admit(ledger, new_job(hold=1, webhook_url="https://x"), new_job(hold=1))
        claimed(ledger)
        ledger.commit(done, 1, ARTIFACTS, gpu_s=1)
        ledger.cancel("acme", gone)
        assert ledger.find(done).artifacts == ARTIFACTS  # type: ignore[union-attr]
        assert [job.id for job in ledger.page("acme").jobs] == [gone, done]
        assert len(ledger.events("acme", after="0", block_ms=10)) == 5
        assert [entry.job for entry in ledger.outbox_read("a")] == [done]
        assert [entry.job for entry in ledger.outbox_read("b", stale_ms=0)] == [done]
        assert len(ledger.statement("acme")) == 5
        assert ledger.credit("acme").balance == 99  # type: ignore[union-attr]
        assert audit(ledger) == {}


class TestWaitAof:
    """On a server that can tell (Redis 7.2), what changes a job's fate is answered when it is on disk."""

    @pytest.fixture
    def proxy(self, redis_port: int) -> Iterator[WaitAof]:
        proxy = WaitAof(redis_port)
        yield proxy
        proxy.close()

    @pytest.fixture
    def durable(self, proxy: WaitAof, ledger_settings: Settings) -> Iterator[Ledger]:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        # what is counted is said once: no call is given up for a busy machine
        patient = RedisSettings(ledger_url=url, socket_timeout_s=30.0, connect_timeout_s=30.0)
        settings = ledger_settings.model_copy(update={"redis": patient})
        client = connect(settings.redis)
        yield ByNumber(client, settings)
        client.close()

    def test_the_same_connection_waits_for_its_write(self, durable: Ledger, proxy: WaitAof) -> None:
        [job_id] = admit(durable, new_job())
        claimed(durable)
        durable.commit(job_id, 1, ARTIFACTS, gpu_s=1)
        waiting = [commands for commands in proxy.heard if "WAITAOF 1 0" in commands]
        followed = [pair for commands in waiting for pair in pairwise(commands) if pair[1] == "WAITAOF 1 0"]
        _question, *waits = followed  # whether the server can
        assert [first for first, _ in waits] == ["EVALSHA"] * 3  # admit, claim, commit

    def test_a_write_that_is_not_on_disk_is_not_acknowledged(self, durable: Ledger, proxy: WaitAof) -> None:
        job = new_job()
        proxy.synced = 0
        with pytest.raises(Unavailable):
            durable.admit([job])
        proxy.synced = 1
        assert durable.admit([job])[0][0].created
        assert durable.counts("acme")[State.QUEUED] == 1

    def test_a_write_is_not_acknowledged_by_a_server_that_did_not_take_it(
        self, durable: Ledger, proxy: WaitAof
    ) -> None:
        """The connection breaks between the write and the answer about it: whoever is asked next may be a replica that
        was promoted, or the same server after a crash, and knows of no write that is missing. So the question is never
        asked alone, and behind a script that may have been repeated there is something to wait for."""
        admit(durable, new_job())
        job = new_job()
        proxy.drops = 1
        assert durable.admit([job])[0][0].id == job.id
        assert proxy.heard[-1][-3:] == ["EVALSHA", "SET", "WAITAOF 1 0"]
        proxy.drops = 10
        with pytest.raises(Unavailable):
            durable.admit([new_job()])

    def test_as_many_replicas_as_were_asked_for_have_it(self, proxy: WaitAof, ledger_settings: Settings) -> None:
        redis = RedisSettings(ledger_url=f"redis://127.0.0.1:{proxy.port}/0", waitaof_replicas=2)
        with connect(redis) as client:
            ledger, job = Ledger(client, ledger_settings.model_copy(update={"redis": redis})), new_job()
            proxy.replicas = 1
            with pytest.raises(Unavailable, match="1 of 2 replicas"):
                ledger.admit([job])
            proxy.replicas = 2
            ledger.admit([job])
        assert any("WAITAOF 1 2" in commands for commands in proxy.heard)

    def test_a_server_without_waitaof_is_asked_by_wait(self, proxy: WaitAof, ledger_settings: Settings) -> None:
        redis = RedisSettings(ledger_url=f"redis://127.0.0.1:{proxy.port}/0", waitaof_replicas=1, socket_timeout_s=2.0)
        proxy.known = False
        with connect(redis) as client, pytest.raises(Unavailable, match="0 of 1 replicas"):
            Ledger(client, ledger_settings.model_copy(update={"redis": redis})).admit([new_job()])
        # on a busy machine a call may be said again on another connection
        assert any(commands[-1:] == ["WAIT"] for commands in proxy.heard)

    def test_a_server_that_cannot_is_asked_once(self, durable: Ledger, proxy: WaitAof) -> None:
        proxy.known = False
        admit(durable, new_job())
        admit(durable, new_job())
        assert sum(commands.count("WAITAOF 1 0") for commands in proxy.heard) == 1

    def test_a_server_that_never_syncs_is_refused_with_the_remedy(
        self, durable: Ledger, proxy: WaitAof, redis: Redis, unsynced: None
    ) -> None:
        """Every submission would wait for half the socket's timeout and end in 503 without a reason."""
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"appendfsync always.*redis\.waitaof = false"):
                durable.admit([new_job()])
        assert redis.dbsize() == 0
        redis.config_set("appendfsync", "everysec")
        assert admit(durable, new_job())  # the same process, once it was put right


@pytest.fixture
def unsynced(redis: Redis) -> Iterator[None]:
    redis.config_set("appendfsync", "no")
    yield
    redis.config_set("appendfsync", "everysec")
