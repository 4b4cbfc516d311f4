"""Gateways to measure: gunicorn with the farm's own settings, one or several beside each other on one Redis."""

import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError

from bench.bare import BROKER_ENV
from bench.local_farm import ROOT, SHOT
from bench.report import checked_server
from farm.config import CONFIG_ENV, RedisSettings, Settings
from farm.config.gateway import GatewaySettings
from farm.embedded import redis_part
from farm.embedded.ports import free_port
from farm.embedded.settings_file import render
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger, connect
from farm.tenants.tenants import Tenants

#: the farm's own gateway, as gunicorn names it
FARM = "api.app:create_app()"
_START_S = 60.0


@dataclass(frozen=True)
class ServedGateway:
    """One that listens on `port` of the loopback address; `process`: gunicorn's own, above those that serve."""

    port: int
    process: psutil.Process


class LocalGateways:
    """A Redis of its own, a tenant `bench` with a `key`, and a worker in the ledger that offers the model of SHOT."""

    def __init__(self, folder: Path, redis_url: str, settings: Settings, running: ExitStack) -> None:
        self.folder, self.redis_url, self.settings = folder, redis_url, settings
        self._running = running
        self.redis: Redis = running.enter_context(Redis.from_url(redis_url, decode_responses=True))
        self.key = _prepare(settings)

    def serve(self, name: str, application: str = FARM, environment: Mapping[str, str] | None = None) -> ServedGateway:
        """One more of them, with a folder of its own for its counts; it ends with the others."""
        port = free_port()
        given = {
            CONFIG_ENV: str(self.folder / "farm.toml"),
            BROKER_ENV: f"{self.redis_url}/2",
            "PROMETHEUS_MULTIPROC_DIR": str(self.folder / f"counts-{name}"),
            **(environment or {}),
        }
        return ServedGateway(port, self._running.enter_context(served(application, port, given, self.folder)))

    def server(self) -> str:
        """Which Redis this is, checked: one that keeps every write as the farm's own does."""
        return checked_server(self.redis, fsync="always")

    def cpu_s(self, gateway: ServedGateway) -> tuple[float, float]:
        """Seconds of a core that the gateway's processes and Redis have used. Unlike the clock, it does not see who
        else is at work on the machine."""
        times = [one.cpu_times() for one in gateway.process.children()]
        info = self.redis.info("cpu")
        return sum(t.user + t.system for t in times), info["used_cpu_user"] + info["used_cpu_sys"]


@contextmanager
def local_gateways(gateway: GatewaySettings | None = None) -> Iterator[LocalGateways]:
    """A place to measure in; all that runs in it ends with it."""
    with tempfile.TemporaryDirectory(prefix="wanfarm-bench-") as place, ExitStack() as running:
        folder = Path(place)
        redis_url = running.enter_context(redis_server(folder))
        settings = Settings(
            state_dir=folder,
            redis=RedisSettings(ledger_url=f"{redis_url}/0", broker_url=f"{redis_url}/1"),
            gateway=gateway or GatewaySettings(),
        )
        (folder / "farm.toml").write_text(render(settings))
        yield LocalGateways(folder, redis_url, settings, running)


@contextmanager
def served(application: str, port: int, environment: dict[str, str], folder: Path) -> Iterator[psutil.Process]:
    """gunicorn with the farm's own settings for its gateway; `environment` may name another PYTHONPATH."""
    command = [
        *(sys.executable, "-m", "gunicorn", "--config", "python:api.gunicorn_conf"),
        *("--bind", f"127.0.0.1:{port}", "--log-level", "warning", application),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + _START_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{application} does not start:\n{(folder / f'{port}.log').read_text()[-4000:]}")
            time.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", "/")
        connection.getresponse().read()
    except OSError:
        return False
    return True


@contextmanager
def redis_server(folder: Path, *, fsync: str = "always") -> Iterator[str]:
    """An address without a database, of a server that keeps every write as the farm's own does."""
    port = free_port()
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(
            redis_part.command(folder / "redis", port, password=None, fsync=fsync),
            env={**os.environ, **redis_part.environment()},
            stdout=log,
            stderr=log,
        )
    try:
        with Redis(port=port, retry=None) as client:
            end = time.monotonic() + _START_S
            while True:
                try:
                    client.ping()
                    break
                except RedisError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _prepare(settings: Settings) -> str:
    """A tenant's key; a worker that offers the model stands in the ledger for as long as this may take."""
    with connect(settings.redis) as redis:
        tenants = Tenants(redis, settings)
        tenants.create("bench")
        Ledger(redis, settings).worker_seen("bench", "default", WorkerStatus(models=(str(SHOT["model"]),)), ttl_s=3600)
        return tenants.api_keys.create("bench")[1]
