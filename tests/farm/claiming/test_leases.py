"""Many leases of one process: one round trip renews them, and none is lost with another."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from redis import Redis

from farm.claiming.leases import Lease, LeaseKeeper
from farm.config import LeaseSettings, RedisSettings, Settings
from farm.jobs.ids import new_job_id
from farm.jobs.job import Claim, NewJob
from farm.jobs.spec import JobSpec
from farm.jobs.states import Phase
from farm.ledger import Beat, Ledger, Verdict, connect
from tests.conftest import wait_until

LEASE_S = 6.0


class SlowLine:
    """A way to Redis on which every answer takes `delay_s`."""

    def __init__(self, upstream_port: int, delay_s: float) -> None:
        self.delay_s, self._upstream_port = delay_s, upstream_port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._open = [self._door]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._open:
            # who reads from it hears of its end by that, and not of its closing
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._upstream_port))
            self._open += [near, far]
            threading.Thread(target=self._pass_on, args=(near, far, 0.0), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(far, near, self.delay_s), daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket, delay_s: float) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(delay_s)
                to.sendall(data)
        except OSError:
            return


@pytest.fixture
def settings(redis_settings: RedisSettings) -> Settings:
    return Settings(redis=redis_settings, lease=LeaseSettings(seconds=LEASE_S))


@pytest.fixture
def claims(redis: Redis, settings: Settings) -> Callable[[int], list[Claim]]:
    """Some jobs that one worker has claimed."""
    ledger = Ledger(redis, settings)
    spec = JobSpec("m", "t2v", "a fox", "", 832, 480, 5, 16, 2, 4.0, None, 12.0, 1)

    def claim(count: int) -> list[Claim]:
        ledger.admit([NewJob(new_job_id(), "acme", spec, "gpu", "lane", 1.0, 60.0) for _ in range(count)])
        return [claim for _ in range(count) if (claim := ledger.claim("gpu", "w")) is not None]

    return claim


@pytest.fixture
def slow(settings: Settings, redis_port: int) -> Iterator[Ledger]:
    """The ledger, 0.3 s away."""
    port = redis_port
    line = SlowLine(port, 0.3)
    redis = settings.redis.model_copy(
        update={"ledger_url": settings.redis.ledger_url.replace(f":{port}", f":{line.port}")}
    )
    yield Ledger(connect(redis), settings.model_copy(update={"redis": redis}))
    line.close()


Keeper = Callable[..., LeaseKeeper]


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    made: list[LeaseKeeper] = []

    def make(ledger: Ledger, worker: str | None = None) -> LeaseKeeper:
        made.append(LeaseKeeper(ledger, LEASE_S, worker))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Heard:
    """What a holder is told."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []
        self.any = threading.Event()

    def __call__(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.any.set()


def hold(keeper: LeaseKeeper, claims: list[Claim], heard: Heard) -> list[Lease]:
    return [keeper.hold(claim, heard) for claim in claims]


@pytest.mark.long
def test_slow_answers_lose_none_of_many_leases(
    claims: Callable[[int], list[Claim]], keeper: Keeper, slow: Ledger, redis: Redis, settings: Settings
) -> None:
    """Forty leases, each beat 0.3 s away: one by one a round of them would take four leases' time."""
    slow.heartbeat(new_job_id(), 1)  # the connection is made and the script is known
    mine, heard, ledger = claims(40), Heard(), Ledger(redis, settings)
    leases = hold(keeper(slow), mine, heard)
    before = {claim.job.id: claim.job.lease_until_ms for claim in mine}
    end = time.monotonic() + 2 * LEASE_S
    while time.monotonic() < end:
        time.sleep(0.25)
        assert ledger.reap().expired == 0
    for lease in leases:
        lease.drop()
    after = {job.id: job.lease_until_ms for job in ledger.find_many(list(before)) if job is not None}
    assert all((after[job_id] or 0) > (until or 0) for job_id, until in before.items())
    assert heard.verdicts == []


def test_many_heartbeats_are_one_call_and_each_has_its_own_answer(
    claims: Callable[[int], list[Claim]], redis: Redis, settings: Settings
) -> None:
    ledger = Ledger(redis, settings)
    one, two, three = claims(3)
    ledger.cancel("acme", two.job.id)
    redis.config_resetstat()
    told = ledger.heartbeats(
        [
            Beat(one.job.id, one.attempt, Phase.DENOISING, 0.5, 3, 6),
            Beat(two.job.id, two.attempt),
            Beat(three.job.id, three.attempt + 1),
            Beat(new_job_id(), 1),
        ]
    )
    assert told == [Verdict.GO, Verdict.CANCEL, Verdict.LOST, Verdict.LOST]
    stats = redis.info("commandstats")
    assert sum(stats[name]["calls"] for name in stats if name.startswith("cmdstat_eval")) <= 2  # one, and its loading
    job = ledger.find(one.job.id)
    assert job is not None
    assert (job.phase, job.progress, job.step, job.steps) == (Phase.DENOISING, 0.5, 3, 6)


def test_a_holder_that_raises_takes_no_other_lease_along(
    claims: Callable[[int], list[Claim]], keeper: Keeper, redis: Redis, settings: Settings
) -> None:
    ledger, shared = Ledger(redis, settings), keeper(Ledger(redis, settings), "w")
    bad, good = claims(2)
    heard = Heard()

    def raises(_verdict: Verdict) -> None:
        raise RuntimeError("what a holder does is its own business")

    leases = [shared.hold(bad, raises), shared.hold(good, heard)]
    for claim in (bad, good):
        ledger.cancel("acme", claim.job.id)
    assert heard.any.wait(90)
    assert set(heard.verdicts) == {Verdict.CANCEL}
    for lease in leases:
        lease.drop()


def test_a_report_that_did_not_arrive_is_told_later(
    claims: Callable[[int], list[Claim]], keeper: Keeper, redis: Redis, settings: Settings
) -> None:
    (mine,) = claims(1)
    ledger = Ledger(redis, settings)
    lease = keeper(Ledger(connect(settings.redis), settings), "w").hold(mine, Heard())
    redis.config_set("maxmemory", 1)  # every script that writes is refused
    try:
        lease.report(Phase.DECODING, 0.75)
        time.sleep(0.5)
    finally:
        redis.config_set("maxmemory", 0)

    def told() -> bool:
        job = ledger.find(mine.job.id)
        return job is not None and job.phase == Phase.DECODING

    wait_until(told, what="the report")
    lease.drop()
