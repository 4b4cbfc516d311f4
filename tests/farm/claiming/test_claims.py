"""Claims while Redis is away, and telling that a worker is there."""

import socket
import threading
import time
from collections.abc import Callable

import pytest
from redis import Redis

from farm.claiming.claims import Claims
from farm.claiming.permits import Permits
from farm.claiming.presence import Presence
from farm.config import RedisSettings, Settings
from farm.jobs.ids import new_job_id
from farm.jobs.job import Claim, NewJob
from farm.jobs.spec import JobSpec
from farm.jobs.worker_status import WorkerState, WorkerStatus
from farm.ledger import Ledger, connect
from tests.conftest import free_port, wait_until


@pytest.fixture
def settings(redis_settings: RedisSettings) -> Settings:
    return Settings(redis=redis_settings)


@pytest.fixture
def ledger(redis: Redis, settings: Settings) -> Ledger:
    return Ledger(redis, settings)


@pytest.fixture
def away(settings: Settings, redis_port: int) -> tuple[Ledger, Callable[[], None]]:
    """A ledger whose Redis is away, and what brings it back."""
    port = free_port()
    url = settings.redis.ledger_url.replace(f":{redis_port}", f":{port}")
    redis = settings.redis.model_copy(update={"ledger_url": url})

    def back() -> None:
        door = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=_forward, args=(door, redis_port), daemon=True).start()

    return Ledger(connect(redis), settings.model_copy(update={"redis": redis})), back


def _forward(door: socket.socket, port: int) -> None:
    while True:
        near, _ = door.accept()
        far = socket.create_connection(("127.0.0.1", port))
        for source, to in ((near, far), (far, near)):
            threading.Thread(target=_pass_on, args=(source, to), daemon=True).start()


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            to.sendall(data)
    except OSError:
        return


def admit(ledger: Ledger) -> str:
    spec = JobSpec("m", "t2v", "a fox", "", 832, 480, 5, 16, 2, 4.0, None, 12.0, 1)
    ledger.admit([NewJob(job_id := new_job_id(), "acme", spec, "gpu", "lane", 1.0, 60.0)])
    return job_id


def test_a_claim_is_asked_for_until_redis_is_back(
    ledger: Ledger, away: tuple[Ledger, Callable[[], None]], settings: Settings
) -> None:
    job_id = admit(ledger)
    there, back = away
    claims, found = Claims(there, Permits(settings), "gpu", "w1"), list[Claim | None]()
    asking = threading.Thread(target=lambda: found.append(claims.claim("")))
    asking.start()
    assert not claims.backlog()
    claims.wake()  # nobody is told, and nothing is raised
    back()
    asking.join(15)
    assert [claim and claim.job.id for claim in found] == [job_id]
    assert Claims(ledger, Permits(settings), "gpu", "w2").claim("") is None


def test_a_worker_that_ends_asks_no_more(away: tuple[Ledger, Callable[[], None]], settings: Settings) -> None:
    there, _ = away
    stop, found = threading.Event(), list[Claim | None]()
    claims = Claims(there, Permits(settings), "gpu", "w1")
    asking = threading.Thread(target=lambda: found.append(claims.claim("", stop=stop)))
    asking.start()
    stop.set()
    asking.join(10)
    assert found == [None]


def test_a_worker_is_seen_with_its_news_and_then_gone(ledger: Ledger) -> None:
    state = [WorkerState.IDLE]
    presence = Presence(ledger, "w1", "gpu", lambda: WorkerStatus(state=state[0]), lambda: 1, lease_s=45)

    def states() -> list[WorkerState]:
        return [worker.status.state for worker in ledger.workers()]

    presence.start()
    wait_until(lambda: states() == ["idle"], what="the worker")
    state[0] = WorkerState.BUSY
    presence.news()
    wait_until(lambda: states() == ["busy"], what="the news")
    state[0] = WorkerState.BROKEN
    presence.leave(seen_for_s=60)
    assert states() == ["broken"]
    presence.leave()
    assert states() == []


def test_a_change_that_nobody_reports_is_announced_at_the_next_look(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that died, say: a whole third of a lease would be long to be woken for nothing."""
    monkeypatch.setattr("farm.claiming.presence.LOOK_S", 0.05)
    slots = [1]
    presence = Presence(ledger, "w1", "gpu", WorkerStatus, lambda: slots[0], lease_s=900)
    presence.start()
    wait_until(lambda: sum(pool.slots for pool in ledger.farm_numbers().pools) == 1, what="the worker")
    slots[0] = 0
    wait_until(lambda: sum(pool.slots for pool in ledger.farm_numbers().pools) == 0, what="the change")
    presence.leave()


def test_presence_asks_after_each_telling_whether_to_go_on(
    ledger: Ledger, away: tuple[Ledger, Callable[[], None]]
) -> None:
    there, back = away
    told, untold, ended = threading.Event(), threading.Event(), threading.Event()

    def go_on() -> bool:
        if told.is_set():
            ended.set()
        return not told.is_set()

    presence = Presence(
        there, "w1", "gpu", WorkerStatus, lambda: 0, lease_s=45, on_look=told.set, on_away=untold.set, go_on=go_on
    )
    presence.start()
    assert untold.wait(90)
    back()
    deadline = time.monotonic() + 20
    while not ended.wait(0.1) and time.monotonic() < deadline:
        presence.news()
    assert ended.is_set()
    assert [worker.worker for worker in ledger.workers()] == ["w1"]
