"""The comparison: Celery alone, on the same Redis, with its own default settings but for a result backend that nobody
needs. Its task does one command on Redis, as a claim would. The broker's address comes from BENCH_BROKER."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery
from redis import Redis

BROKER_ENV = "BENCH_BROKER"
RAN = "bare:ran"
QUEUE = "bare"


def bare_app(broker: str) -> Celery:
    app = Celery("bare", broker=broker, set_as_current=False)
    app.conf.update(task_default_queue=QUEUE, task_ignore_result=True, worker_prefetch_multiplier=1)
    return app


app = bare_app(os.environ.get(BROKER_ENV, "redis://127.0.0.1:6379/2"))
_client: list[Redis] = []


@app.task(name="bare.noop")
def noop() -> None:
    """Tell Redis that it ran, over a connection that is open already."""
    if not _client:
        _client.append(Redis.from_url(os.environ[BROKER_ENV]))
    _client[0].lpush(RAN, 1)


class Bare:
    """A sender of bare tasks, and a way to wait until each has run."""

    def __init__(self, broker: str, worker: int) -> None:
        self._worker = worker
        self.bare_app = bare_app(broker)
        self._redis = Redis.from_url(broker)

    def run_one(self) -> None:
        """Send one and wait for it (a blocking read: no polling that the measurement would see)."""
        self.send()
        self.wait_one()

    def send(self) -> None:
        self.bare_app.send_task("bare.noop", queue=QUEUE, retry=False, ignore_result=True)

    def wait_one(self) -> None:
        if self._redis.brpop([RAN], timeout=30) is None:
            raise RuntimeError("the bare worker does not answer")

    @contextmanager
    def held(self) -> Iterator[None]:
        """The worker stands still meanwhile, so that a backlog can grow."""
        os.kill(self._worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._worker, signal.SIGCONT)


@contextmanager
def bare_worker(broker: str) -> Iterator[Bare]:
    """One idle Celery worker as a farm's agent is one: threads, concurrency 1, quiet."""
    command = [
        *(sys.executable, "-m", "celery", "-A", "bench.bare", "worker", "-P", "threads", "-c", "1", "-l", "WARNING"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "-Q", QUEUE),
    ]
    worker = subprocess.Popen(
        command, env={**os.environ, BROKER_ENV: broker}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # never longer than the benchmark itself, should it be killed in here
    guard = threading.Timer(600, worker.kill)
    guard.daemon = True
    guard.start()
    try:
        bare = Bare(broker, worker.pid)
        bare.run_one()
        yield bare
    finally:
        guard.cancel()
        worker.kill()
        worker.wait()
