"""Redis, the object store and the broker's connection go away in the middle of a job, and come back."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from own_redis import redis_command
from redis import Redis
from redis.exceptions import RedisError

from farm.config import Settings
from farm.embedded import s3_part
from farm.embedded.ports import free_port
from farm.jobs.spec import InputRef
from farm.jobs.states import State
from farm.ledger.ledger import INTAKE_POOL
from tests.conftest import wait_until
from tests.e2e.blackhole import BlackHole
from tests.farm.agent.agent_farm import changed, farm_on, gone

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


def test_a_render_goes_on_while_redis_restarts(farm_settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}"
    settings = changed(farm_settings, tmp_path, redis={"ledger_url": f"{url}/0", "broker_url": f"{url}/1"})
    with running(Server(redis_command(tmp_path / "redis", port), port)) as redis:
        wait_until(lambda: answers(port), what="Redis")
        with farm_on(settings, tmp_path) as farm:
            agent = farm.agent()
            engine = agent.engine
            job = farm.submit(f"tail:{tmp_path / 'go'}")
            farm.wait_state(job, State.RUNNING, phase="decoding")
            redis.kill()
            # the render ends, and its result is uploaded, while nobody can be told
            (tmp_path / "go").touch()
            wait_until(lambda: len(farm.objects(job)) == 3, what="the upload")
            redis.start()
            wait_until(lambda: answers(port), what="Redis again")
            done = farm.committed(job)
            assert (done.attempt, done.worker_losses) == (1, 0)
            assert agent.engine == engine
            # and permits come through again
            farm.committed(farm.submit("ok"))


def test_an_agent_cut_off_from_the_ledger_throws_its_result_away(
    farm_settings: Settings, redis_port: int, tmp_path: Path
) -> None:
    with BlackHole(redis_port) as wire:
        settings = changed(farm_settings, tmp_path, redis={"prefix": "cutoff", "socket_timeout_s": 1.0})
        with farm_on(settings, tmp_path) as farm:
            cut_off = farm.agent(WANFARM_REDIS__LEDGER_URL=f"redis://127.0.0.1:{wire.port}/4")
            job = farm.submit(f"once:{tmp_path / 'first'}:tail:{tmp_path / 'go'}")
            farm.wait_state(job, State.RUNNING, phase="decoding")
            wire.swallow()
            farm.agent("cpu-1")
            done = farm.committed(job)
            assert (done.attempt, done.worker_losses) == (2, 1)
            # it knows of nothing, goes on, and stores what it made
            (tmp_path / "go").touch()
            wait_until(lambda: len(farm.objects(job)) == 6, what="the late upload")
            wire.heal()
            wait_until(lambda: cut_off.facts().get("state") == "idle", what="the agent to be back")
            assert farm.committed(job) == done


def test_an_upload_waits_for_the_store(farm_settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    settings = changed(farm_settings, tmp_path, s3={"endpoint": f"127.0.0.1:{port}"}, lease={"stuck_s": 4.0})
    (tmp_path / "s3" / settings.s3.bucket).mkdir(parents=True)
    environment = s3_part.environment(settings.s3.access_key, settings.s3.secret_key)
    server = Server(s3_part.command(tmp_path / "s3", port), port, environment)
    with running(server) as store, farm_on(settings, tmp_path) as farm:
        wait_until(farm.store.ready, what="the store")
        farm.agent()
        job = farm.submit(f"tail:{tmp_path / 'go'}")
        farm.wait_state(job, State.RUNNING, phase="decoding")
        store.kill()
        (tmp_path / "go").touch()
        farm.wait_state(job, State.RUNNING, phase="uploading")
        store.start()
        assert farm.committed(job).attempt == 1

        store.kill()
        lost = farm.wait_over(farm.submit("ok", max_attempts=1))
        assert (lost.state, lost.error_code) == (State.FAILED, "storage_failed")
        store.start()
        wait_until(farm.store.ready, what="the store")
        farm.committed(farm.submit("ok"))


def test_a_half_open_broker_connection_heals(farm_settings: Settings, redis_port: int, tmp_path: Path) -> None:
    with BlackHole(redis_port) as broker:
        settings = changed(
            farm_settings,
            tmp_path,
            redis={"broker_url": f"redis://127.0.0.1:{broker.port}/1", "prefix": "halfopen"},
            worker={"deaf_s": 3.0},
        )
        with farm_on(settings, tmp_path) as farm:
            supervisor = farm.supervisor()
            wait_until(lambda: (farm.worker("cpu-0") or {}).get("state") == "idle", what="an agent")
            farm.committed(farm.submit("ok"))
            broker.swallow()
            # it claims by itself what no permit can tell it of
            farm.committed(farm.submit("ok"))
            broker.heal()
            farm.committed(farm.submit("ok"))
            assert supervisor.poll() is None


def test_a_full_broker_stops_neither_renders_nor_intake(farm_settings: Settings, tmp_path: Path) -> None:
    """It takes no permits any more, and those who have work claim without."""
    port = free_port()
    settings = changed(
        farm_settings,
        tmp_path,
        redis={"broker_url": f"redis://127.0.0.1:{port}/0", "prefix": "fullbroker"},
        scheduling={"permit_ttl_s": 1.0},
    )
    (settings.state_dir / "beat").mkdir(parents=True)
    with running(Server(redis_command(tmp_path / "broker", port), port)), Redis(port=port) as broker:
        wait_until(lambda: answers(port), what="the broker")
        with farm_on(settings, tmp_path) as farm:
            farm.agent()
            io = [sys.executable, "-m", "celery", "-A", "farm.io_worker.app", "worker", "-P", "threads", "-c", "4"]
            farm.start([*io, "-Q", "pool.intake,beat", "--without-gossip", "--without-mingle"], "io")
            wait_until(lambda: any(one.pool == INTAKE_POOL for one in farm.ledger.workers()), what="the io worker")
            farm.committed(farm.submit("ok"))
            broker.config_set("maxmemory", 1)
            for job in [farm.submit("ok") for _ in range(3)]:
                farm.committed(job)
            refused = farm.submit("ok", inputs={"image": InputRef(url="http://127.0.0.1:9/x.png")})
            assert farm.wait_over(refused).error_code == "input_refused", "intake has looked at it"
            # and when there is room again, permits are heard as before
            broker.config_set("maxmemory", 0)
            farm.committed(farm.submit("ok"))


def test_an_agent_that_hears_no_permit_ends(farm_settings: Settings, redis_port: int, tmp_path: Path) -> None:
    with BlackHole(redis_port) as broker:
        settings = changed(
            farm_settings,
            tmp_path,
            redis={"broker_url": f"redis://127.0.0.1:{broker.port}/1", "prefix": "deaf"},
            worker={"deaf_s": 1.0},
        )
        with farm_on(settings, tmp_path) as farm:
            agent = farm.agent()
            engine = agent.engine
            # it listens by now
            farm.committed(farm.submit("ok"))
            # the agent's own connection is dead, and nobody told it; new ones work
            broker.swallow()
            broker.heal()
            end = time.monotonic() + 60
            while agent.process.poll() is None and time.monotonic() < end:
                farm.submit("ok")
                time.sleep(1)
            assert agent.process.wait(60) == 75
            wait_until(lambda: gone(engine), what="the engine to end with its agent")


@pytest.mark.parametrize("engine", ["no.such.engine"])
def test_an_agent_without_an_engine_ends_and_claims_nothing(
    farm_settings: Settings, tmp_path: Path, engine: str
) -> None:
    settings = changed(farm_settings, tmp_path, redis={"prefix": "noengine"}, worker={"engine": engine})
    with farm_on(settings, tmp_path) as farm:
        agent = farm.agent(ready=False)
        job = farm.submit("ok")
        agent.wait_state("starting")
        wait_until(lambda: "exited with status 1" in agent.facts().get("reason", ""), what="the reason to be told")
        assert farm.job(job).state == State.QUEUED
        os.kill(agent.pid, signal.SIGTERM)
        assert agent.process.wait(90) == 0
