"""Authenticated, validated, durable POST /v1/jobs, beside a bare Flask route that only calls `.delay()`.

Same Redis, same gunicorn settings, same clients; the two take turns, so that both meet the same machine. The farm's
route checks a key and every field, writes the job, its indexes, its event and its place in the queue in one script, and
answers with the whole job; the bare one pushes a message.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.pool import Pool
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError

from bench.bare import BROKER_ENV
from bench.local_farm import ROOT, SHOT
from bench.report import checked_server, p50, p99, show
from farm.config import CONFIG_ENV, RedisSettings, Settings
from farm.embedded import redis_part
from farm.embedded.ports import free_port
from farm.embedded.settings_file import render
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger, connect
from farm.tenants.tenants import Tenants

PATH = "/v1/jobs"
BODY = json.dumps({"prompt": "a red fox runs through deep snow, morning light", "seed": 7, **SHOT}).encode()
_CLIENTS = 2
#: requests on one connection: which of gunicorn's processes takes a connection is chance, and a long one would keep it
_PER_CONNECTION = 20
_START_S = 60.0


@contextmanager
def served(application: str, port: int, environment: dict[str, str], folder: Path) -> Iterator[psutil.Process]:
    """gunicorn with the farm's own settings for its gateway."""
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
def redis_server(folder: Path) -> Iterator[str]:
    """An address without a database, of a server that keeps every write as the farm's own does."""
    port = free_port()
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(redis_part.command(folder / "redis", port, password=None), stdout=log, stderr=log)
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


def load(clients: Pool, port: int, headers: dict[str, str], threads: int, seconds: float) -> list[float]:
    """Milliseconds of every request that a few kept-alive clients get through in that time."""
    share = [(port, headers, threads // _CLIENTS, seconds)] * _CLIENTS
    return [one for part in clients.starmap(_client, share) for one in part]


def _client(port: int, headers: dict[str, str], threads: int, seconds: float) -> list[float]:
    took: list[list[float]] = [[] for _ in range(threads)]

    def ask(mine: list[float]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            if len(mine) % _PER_CONNECTION == 0:
                connection.close()
            connection.request("POST", PATH, body=BODY, headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 201:
                raise RuntimeError(f"HTTP {answer.status}")
            mine.append((time.perf_counter() - began) * 1000)
        connection.close()

    running = [threading.Thread(target=ask, args=(mine,)) for mine in took]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if not all(took):
        raise RuntimeError("a client was refused")
    return [one for mine in took for one in mine]


def cpu_s(gunicorn: psutil.Process, redis: Redis) -> tuple[float, float]:
    """Seconds of a core that the gateway's processes and Redis have used. Unlike the clock, it does not see who else
    is at work on the machine."""
    times = [one.cpu_times() for one in gunicorn.children()]
    info = redis.info("cpu")
    return sum(t.user + t.system for t in times), info["used_cpu_user"] + info["used_cpu_sys"]


def prepare(settings: Settings) -> str:
    """A tenant's key; a worker that offers the model stands in the ledger for as long as this may take."""
    with connect(settings.redis) as redis:
        tenants = Tenants(redis, settings)
        tenants.create("bench")
        Ledger(redis, settings).worker_seen("bench", "default", WorkerStatus(models=(str(SHOT["model"]),)), ttl_s=3600)
        return tenants.api_keys.create("bench")[1]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one turn")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--clients", type=int, default=8, help="connections at once")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="wanfarm-bench-") as place, ExitStack() as running:
        folder = Path(place)
        redis_url = running.enter_context(redis_server(folder))
        settings = Settings(
            state_dir=folder, redis=RedisSettings(ledger_url=f"{redis_url}/0", broker_url=f"{redis_url}/1")
        )
        (folder / "farm.toml").write_text(render(settings))
        headers = {"X-API-Key": prepare(settings), "Content-Type": "application/json"}
        environment = {CONFIG_ENV: str(folder / "farm.toml"), BROKER_ENV: f"{redis_url}/2"}
        # each with a folder of its own for its counts
        ports, servers = {}, {}
        for name, application in (("farm", "api.app:create_app()"), ("bare", "bench.bare_gateway:app")):
            ports[name] = free_port()
            counts = {"PROMETHEUS_MULTIPROC_DIR": str(folder / f"counts-{name}")}
            serving = served(application, ports[name], {**environment, **counts}, folder)
            servers[name] = running.enter_context(serving)
        clients = running.enter_context(multiprocessing.get_context("spawn").Pool(_CLIENTS))
        redis = running.enter_context(Redis.from_url(redis_url, decode_responses=True))
        server = checked_server(redis, fsync="everysec")
        took: dict[str, list[float]] = {"farm": [], "bare": []}
        used = {"farm": [0.0, 0.0], "bare": [0.0, 0.0]}
        for port in ports.values():
            load(clients, port, headers, asked.clients, 1.0)  # connections, caches, scripts
        for _ in range(asked.turns):
            for name, port in ports.items():
                before = cpu_s(servers[name], redis)
                took[name] += load(clients, port, headers, asked.clients, asked.seconds)
                after = cpu_s(servers[name], redis)
                used[name] = [u + a - b for u, a, b in zip(used[name], after, before, strict=True)]
    gateway = settings.gateway
    rows = {name: figures(took[name], used[name], asked.turns * asked.seconds) for name in took}
    show(
        "POST /v1/jobs at the gateway",
        ("", "requests", "per second", "p50 ms", "p99 ms", "gateway CPU ms", "Redis CPU ms"),
        [
            ("farm: key, checks, ledger, whole job", *rows["farm"]),
            ("bare Flask route with .delay()", *rows["bare"]),
            ("farm / bare", "", *(mine / its for mine, its in zip(rows["farm"][1:], rows["bare"][1:], strict=True))),
        ],
        f"gunicorn {gateway.processes} x {gateway.threads} threads, {asked.clients} kept-alive clients; aim: no slower",
        server=server,
    )


def figures(took: Sequence[float], used: Sequence[float], seconds: float) -> tuple[float, ...]:
    gateway_s, redis_s = used
    return (
        *(len(took), len(took) / seconds, p50(took), p99(took)),
        *(gateway_s / len(took) * 1000, redis_s / len(took) * 1000),
    )


if __name__ == "__main__":
    main()
