"""Redis, the object store and the broker's connection go away in the middle of a job, and come back."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from farm.config import Settings
from farm.embedded import redis_part, s3_part
from farm.embedded.ports import free_port
from farm.jobs.states import State
from tests.conftest import wait_until
from tests.e2e.blackhole import BlackHole
from tests.farm.agent.yard import changed, yard_on

pytestmark = pytest.mark.xdist_group("agent_outages")


class Server:
    """A server of this module's own, that can be killed and started again on the same data."""

    def __init__(self, command: list[str], port: int, environment: dict[str, str] | None = None) -> None:
        self._command, self.port, self._environment = command, port, environment or {}
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **self._environment},
        )

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()


@contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.kill()


def answers(port: int) -> bool:
    try:
        with Redis(port=port) as client:
            return bool(client.ping())
    except RedisError:
        return False


def test_a_render_goes_on_while_redis_restarts(yard_settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}"
    settings = changed(yard_settings, tmp_path, redis={"ledger_url": f"{url}/0", "broker_url": f"{url}/1"})
    with running(Server(redis_part.command(tmp_path / "redis", port), port)) as redis:
        wait_until(lambda: answers(port), what="Redis")
        with yard_on(settings, tmp_path) as yard:
            agent = yard.agent()
            engine = agent.engine
            job = yard.submit(f"tail:{tmp_path / 'go'}")
            yard.wait_state(job, State.RUNNING, phase="decoding")
            redis.kill()
            # the render ends, and its result is uploaded, while nobody can be told
            (tmp_path / "go").touch()
            wait_until(lambda: len(yard.objects(job)) == 3, what="the upload")
            redis.start()
            wait_until(lambda: answers(port), what="Redis again")
            done = yard.committed(job)
            assert (done.attempt, done.worker_losses) == (1, 0)
            assert agent.engine == engine
            # and permits come through again
            yard.committed(yard.submit("ok"))


def test_an_agent_cut_off_from_the_ledger_throws_its_result_away(
    yard_settings: Settings, redis_port: int, tmp_path: Path
) -> None:
    with BlackHole(redis_port) as wire:
        settings = changed(yard_settings, tmp_path, redis={"prefix": "cutoff", "socket_timeout_s": 1.0})
        with yard_on(settings, tmp_path) as yard:
            cut_off = yard.agent(WANFARM_REDIS__LEDGER_URL=f"redis://127.0.0.1:{wire.port}/0")
            job = yard.submit(f"once:{tmp_path / 'first'}:tail:{tmp_path / 'go'}")
            yard.wait_state(job, State.RUNNING, phase="decoding")
            wire.swallow()
            yard.agent("cpu-1")
            done = yard.committed(job)
            assert (done.attempt, done.worker_losses) == (2, 1)
            # it knows of nothing, goes on, and stores what it made
            (tmp_path / "go").touch()
            wait_until(lambda: len(yard.objects(job)) == 6, what="the late upload")
            wire.heal()
            wait_until(lambda: cut_off.facts().get("state") == "idle", what="the agent to be back")
            assert yard.committed(job) == done


def test_an_upload_waits_for_the_store(yard_settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    settings = changed(yard_settings, tmp_path, s3={"endpoint": f"127.0.0.1:{port}"}, lease={"stuck_s": 4.0})
    (tmp_path / "s3" / settings.s3.bucket).mkdir(parents=True)
    environment = s3_part.environment(settings.s3.access_key, settings.s3.secret_key)
    server = Server(s3_part.command(tmp_path / "s3", port), port, environment)
    with running(server) as store, yard_on(settings, tmp_path) as yard:
        wait_until(yard.store.ready, what="the store")
        yard.agent()
        job = yard.submit(f"tail:{tmp_path / 'go'}")
        yard.wait_state(job, State.RUNNING, phase="decoding")
        store.kill()
        (tmp_path / "go").touch()
        yard.wait_state(job, State.RUNNING, phase="uploading")
        store.start()
        assert yard.committed(job).attempt == 1

        store.kill()
        lost = yard.wait_over(yard.submit("ok", max_attempts=1))
        assert (lost.state, lost.error_code) == (State.FAILED, "storage_failed")
        store.start()
        wait_until(yard.store.ready, what="the store")
        yard.committed(yard.submit("ok"))


def test_a_half_open_broker_connection_heals(yard_settings: Settings, redis_port: int, tmp_path: Path) -> None:
    with BlackHole(redis_port) as broker:
        settings = changed(
            yard_settings,
            tmp_path,
            redis={"broker_url": f"redis://127.0.0.1:{broker.port}/1", "prefix": "halfopen"},
            worker={"deaf_s": 3.0},
        )
        with yard_on(settings, tmp_path) as yard:
            supervisor = yard.supervisor()
            wait_until(lambda: (yard.worker("cpu-0") or {}).get("state") == "idle", what="an agent")
            yard.committed(yard.submit("ok"))
            broker.swallow()
            job = yard.submit("ok")
            assert yard.job(job).state == State.QUEUED
            broker.heal()
            yard.committed(job)
            assert supervisor.poll() is None


def test_an_agent_that_hears_no_permit_ends(yard_settings: Settings, redis_port: int, tmp_path: Path) -> None:
    with BlackHole(redis_port) as broker:
        settings = changed(
            yard_settings,
            tmp_path,
            redis={"broker_url": f"redis://127.0.0.1:{broker.port}/1", "prefix": "deaf"},
            worker={"deaf_s": 1.0},
        )
        with yard_on(settings, tmp_path) as yard:
            agent = yard.agent()
            engine = agent.engine
            broker.swallow()
            yard.submit("ok")
            assert agent.process.wait(60) == 75
            assert not Path(f"/proc/{engine}").exists()


@pytest.mark.parametrize("engine", ["no.such.engine"])
def test_an_agent_without_an_engine_ends_and_claims_nothing(
    yard_settings: Settings, tmp_path: Path, engine: str
) -> None:
    settings = changed(yard_settings, tmp_path, redis={"prefix": "noengine"}, worker={"engine": engine})
    with yard_on(settings, tmp_path) as yard:
        agent = yard.agent(ready=False)
        job = yard.submit("ok")
        agent.wait_state("starting")
        wait_until(lambda: "exited with status 1" in agent.facts().get("reason", ""), what="the reason to be told")
        assert yard.job(job).state == State.QUEUED
        os.kill(agent.pid, signal.SIGTERM)
        assert agent.process.wait(30) == 0
