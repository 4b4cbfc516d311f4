"""What one scrape of the exporter takes, and how long its scripts keep Redis busy, as the queue grows."""

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from bench.ledger import ADMIT_AT_ONCE, TENANTS, batched, jobs, redis_cpu_s, redis_server
from bench.report import checked_server, show
from farm.config import RedisSettings, SchedulingSettings, Settings
from farm.exporter.collector import FarmCollector
from farm.ledger import Ledger, connect

SIZES = (1_000, 100_000, 1_000_000)
SCRAPES = 20
#: processes that admit, so that Redis never waits for one of them
FILLERS = 2


def _fill(settings: Settings, seed: int, count: int) -> None:
    """So many jobs more, admitted as a client's are."""
    with connect(settings.redis) as redis:
        ledger = Ledger(redis, settings)
        for piece in batched(jobs(random.Random(seed)), count, ADMIT_AT_ONCE):
            ledger.admit(piece)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.exporter", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    sizes = sorted(parser.parse_args(argv).sizes)
    with (
        redis_server() as url,
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(FILLERS) as fillers,
    ):
        settings = Settings(
            state_dir=Path(folder),
            redis=RedisSettings(ledger_url=url, waitaof=False, socket_timeout_s=60),
            scheduling=SchedulingSettings(max_open=2 * max(sizes)),
        )
        redis = connect(settings.redis)
        there, rows = 0, list[tuple[object, ...]]()
        registry = CollectorRegistry()
        registry.register(FarmCollector(redis, settings))
        for size in sizes:
            fillers.starmap(_fill, [(settings, n, (size - there) // FILLERS) for n in range(there, there + FILLERS)])
            there = size
            # streams of events are bounded and do not belong to what is measured
            redis.delete(*(f"wf:events:tenant-{n}" for n in range(TENANTS)))
            took, cpu = [], redis_cpu_s(redis)
            for _ in range(SCRAPES):
                began = time.perf_counter()
                generate_latest(registry)
                took.append((time.perf_counter() - began) * 1e3)
            cpu_ms = (redis_cpu_s(redis) - cpu) * 1e3 / SCRAPES
            rows.append((f"{size:,} jobs, {TENANTS} tenants", statistics.median(took), max(took), cpu_ms))
        server = checked_server(redis, fsync="no")
    show("one scrape of the exporter, ms", ("queue", "median", "worst", "Redis' CPU"), rows, server=server)


if __name__ == "__main__":
    main()
