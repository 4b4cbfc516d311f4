"""What a durable answer costs: eight clients admit, claim and commit jobs at once, on the embedded server with WAITAOF
and, with `--old PATH`, beside it on a server without WAITAOF that syncs at every write (appendfsync always)."""

import argparse
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import TypeVar

from redis.exceptions import RedisError

from bench.ledger import ARTIFACTS, MEMORY, POOL, jobs
from bench.report import p50, p99, show
from farm.config import RedisSettings, Settings
from farm.embedded import redis_part
from farm.embedded.ports import free_port
from farm.ledger import Ledger, connect
from farm.ledger.server import look

Answer = TypeVar("Answer")

#: as many as threads of a small gateway and agents would write at once
WRITERS = 8
#: jobs of each writer
EACH = 100


@contextmanager
def durable_server(old: Path | None) -> Iterator[tuple[RedisSettings, str]]:
    """A server that is on disk before it answers, and its description. `old`: the program of one without WAITAOF.

    Raises RuntimeError when the server is not as the table says.
    """
    with tempfile.TemporaryDirectory(prefix="wanfarm-bench-", dir=".") as name:
        folder, port = Path(name).absolute(), free_port()
        command = redis_part.command(folder, port, password=None)
        if old is not None:
            command = [str(old), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        environment = redis_part.environment(old)
        process = Popen(command, env={**os.environ, **environment}, stdout=DEVNULL, stderr=DEVNULL)
        try:
            settings = RedisSettings(ledger_url=f"redis://127.0.0.1:{port}/0", waitaof=old is None)
            yield settings, _checked(settings, process)
        finally:
            process.kill()
            process.wait()


def _checked(settings: RedisSettings, process: "Popen[bytes]") -> str:
    end = time.monotonic() + 20
    with connect(settings) as client:
        while True:
            try:
                client.ping()
                break
            except RedisError:
                if time.monotonic() > end or process.poll() is not None:
                    raise RuntimeError("the server did not start") from None
                time.sleep(0.02)
        server = look(client)
    expected = (True, "always", True) if settings.waitaof else (True, "always", False)
    if (server.appendonly, server.fsync, server.waits) != expected:
        raise RuntimeError(f"measured on another server than the table's: {server!r}")
    return f"{server}, appendfsync {server.fsync}{', WAITAOF' if server.waits else ''}"


def measure(settings: RedisSettings) -> tuple[dict[str, list[float]], float]:
    """Milliseconds of each call by its name, with all writers at work; and whole jobs per second."""
    taken: dict[str, list[float]] = {"admit": [], "claim": [], "commit": []}
    ready = threading.Barrier(WRITERS + 1)

    def write(number: int) -> None:
        with connect(settings) as client:
            ledger, source = Ledger(client, Settings(redis=settings)), jobs(random.Random(number))
            ledger.cancel("nobody", next(source).id)  # connects
            ready.wait()
            for _ in range(EACH):
                job = next(source)
                _timed(taken["admit"], partial(ledger.admit, [job]))
                claim = _timed(taken["claim"], partial(ledger.claim, POOL, f"bench-{number}", memory=MEMORY))
                assert claim is not None, "every writer admits a job before it claims one"
                commit = partial(ledger.commit, claim.job.id, claim.attempt, ARTIFACTS, gpu_s=9)
                _timed(taken["commit"], commit)

    with ThreadPoolExecutor(WRITERS) as writers:
        futures = [writers.submit(write, number) for number in range(WRITERS)]
        ready.wait()
        start = time.perf_counter()
        for future in futures:
            future.result()
        return taken, WRITERS * EACH / (time.perf_counter() - start)


def _timed(into: list[float], call: Callable[[], Answer]) -> Answer:
    start = time.perf_counter()
    answer = call()
    into.append((time.perf_counter() - start) * 1000)
    return answer


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.durability", description=__doc__)
    parser.add_argument("--old", type=Path, help="a redis-server without WAITAOF to compare with")
    old = parser.parse_args(argv).old
    rows: list[tuple[str, ...]] = []
    names: list[str] = []
    for program in [None, *([old] if old else [])]:
        with durable_server(program) as (settings, server):
            taken, per_s = measure(settings)
        names.append(server)
        for call, times in taken.items():
            rows.append((f"{server}: {call}", f"{p50(times):.1f}", f"{p99(times):.1f}", ""))
        rows.append((f"{server}: jobs", "", "", f"{per_s:,.0f}"))
    show(
        "A durable answer",
        ("", "p50 ms", "p99 ms", "jobs/s"),
        rows,
        f"{WRITERS} writers in one process, {EACH} jobs each; every call is on disk before it is answered",
        server=" beside ".join(names),
    )


if __name__ == "__main__":
    main()
