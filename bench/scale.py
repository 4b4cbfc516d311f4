"""Claims, and every script whose cost could follow the size of the farm, with many queued jobs, tenants and workers.
One server; nothing is rendered. Redis is another process of the same machine, so clients take turns with it."""

import argparse
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier

from redis import Redis

from bench.ledger import ADMIT_AT_ONCE, ARTIFACTS, MEMORY, POOL, batched, jobs, redis_cpu_s, redis_server, used_bytes
from bench.report import checked_server, p50, p99, show
from farm.batches.admission import new_batch_id
from farm.config import RedisSettings, SchedulingSettings, Settings
from farm.io_worker.forecasting import Forecasting
from farm.jobs.batch import NewBatch
from farm.jobs.ids import new_job_id
from farm.jobs.job import Claim, NewJob
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger, connect
from farm.ledger.batch_chunks import ChunkWriter, JobKind
from farm.ledger.outcomes import Beat

#: of each client, and how many of them claim at once
CLAIMS, CLIENTS = 2_000, (2, 4)
LOADED = "wan2.2-t2v-a14b/bf16/0"

#: commands below it are not told apart
_LOGGED_MS = 0.1

#: when a client began, when it ended, and the ms of each of its claims
_Told = tuple[float, float, list[float]]


def _shots(tenants: int) -> Iterator[NewJob]:
    chance = random.Random(1)
    for job in jobs(chance):
        yield replace(job, tenant=f"tenant-{chance.randrange(tenants)}")


class _Busy:
    """How long each kind of call keeps Redis busy, the longest of those that were tried: processor time of its main
    thread for the whole call, which may be several scripts, and the longest of its commands by Redis' slow log, during
    which nobody else is served."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        # of a script the calls within it are logged too, which takes longer than they do: none is as slow as this
        redis.config_set("slowlog-log-slower-than", round(1000 * _LOGGED_MS))
        redis.config_set("slowlog-max-len", 10_000)
        self.ms: dict[str, tuple[float, float]] = {}

    def of(self, name: str, act: Callable[[], object]) -> None:
        """Run it and keep what it took."""
        self._redis.slowlog_reset()
        before_s = redis_cpu_s(self._redis)
        act()
        cpu_ms = (redis_cpu_s(self._redis) - before_s) * 1e3
        logged = [one["duration"] / 1e3 for one in self._redis.slowlog_get(10_000)]
        command_ms = max(logged, default=_LOGGED_MS)
        most = self.ms.get(name, (0.0, 0.0))
        self.ms[name] = max(most[0], cpu_ms), max(most[1], command_ms)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=10_000)
    size = parser.parse_args(argv)
    with redis_server() as url, connect(RedisSettings(ledger_url=url, socket_timeout_s=60)) as redis:
        server = checked_server(redis, fsync="no")
        settings = Settings(
            redis=RedisSettings(ledger_url=url, waitaof=False, socket_timeout_s=60),
            scheduling=SchedulingSettings(max_open=10 * size.jobs),
        )
        ledger, busy, workers = Ledger(redis, settings), _Busy(redis), [f"w{n}" for n in range(size.workers)]
        _announce(ledger, workers)
        busy.of("worker_seen", lambda: ledger.worker_seen("w0", POOL, WorkerStatus(), ttl_s=60))
        began = time.perf_counter()
        for piece in batched(_shots(size.tenants), size.jobs, ADMIT_AT_ONCE):
            ledger.admit(piece)
        admitted_per_s = size.jobs / (time.perf_counter() - began)
        shots = _shots(size.tenants)
        for job in islice(shots, 100):
            busy.of("admit", partial(ledger.admit, [job]))
        _chunk(ledger, busy, next(shots), settings.batches.chunk)

        # the first announcement is over by now, and they are gone
        _announce(ledger, workers)
        few = min(CLAIMS, size.jobs // (2 * sum(CLIENTS) + 2))
        claims, took = _claims(ledger, workers, few)
        rows = [("one client", f"{1000 / statistics.mean(took):,.0f}", p50(took), p99(took), "")]
        for clients in CLIENTS:
            cpu_s = redis_cpu_s(redis)
            per_s, took_beside = _claims_at_once(settings, workers, clients, few)
            claim_us = (redis_cpu_s(redis) - cpu_s) / (clients * few) * 1e6
            name = f"{clients} clients at once"
            rows.append((name, f"{per_s:,.0f}", p50(took_beside), p99(took_beside), f"{claim_us:,.0f}"))
        for n in range(200):
            busy.of("claim", lambda n=n: ledger.claim(POOL, f"w{n}", loaded=LOADED, memory=MEMORY))
        _others(ledger, busy, claims)
        bytes_each = used_bytes(redis) / size.jobs
    of = f"{size.jobs:,} jobs, {size.tenants:,} tenants, {size.workers:,} workers"
    show(
        f"claims: {of}",
        ("", "claims/s", "p50 ms", "p99 ms", "Redis us a claim"),
        rows,
        f"admitted {admitted_per_s:,.0f} a second, {bytes_each:,.0f} bytes each",
        server=server,
    )
    show(
        f"Redis busy, at most: {of}; aim: no command over 20 ms",
        ("call", "ms of processor, all of it", "ms of its longest command"),
        [(name, f"{cpu_ms:.1f}", f"{command_ms:.1f}") for name, (cpu_ms, command_ms) in busy.ms.items()],
        server=server,
    )


def _chunk(ledger: Ledger, busy: _Busy, like: NewJob, jobs_of: int) -> None:
    """A batch of one chunk."""
    kind, writer, batch = JobKind.of(like), ChunkWriter(), new_batch_id()
    for n in range(jobs_of):
        writer.add(kind, new_job_id(), kind.body({"prompt": f"shot {n}", "seed": n}, {"shot": {"line": n + 1}}))
    new = NewBatch(batch, like.tenant, jobs_of, hold=0, priced=False, gpu_s=jobs_of * like.predicted_s)
    ledger.begin_batch(new)
    busy.of(f"stage {jobs_of} shots", partial(ledger.stage_chunk, batch, 1, writer.take()))
    busy.of("admit the batch", partial(ledger.flip_batch, batch, 1))
    busy.of(f"place {jobs_of} shots", partial(ledger.place_chunk, batch))


def _announce(ledger: Ledger, workers: Sequence[str]) -> None:
    for worker in workers:
        ledger.worker_seen(worker, POOL, WorkerStatus(), ttl_s=60)


def _claims(ledger: Ledger, workers: Sequence[str], count: int) -> tuple[list[Claim], list[float]]:
    """So many, by these workers in turn, and the ms that each took."""
    taken, took = [], []
    for worker in islice(cycle(workers), count):
        start = time.perf_counter()
        claim = ledger.claim(POOL, worker, loaded=LOADED, memory=MEMORY)
        took.append((time.perf_counter() - start) * 1e3)
        assert claim is not None, "the queue is shorter than it should be"
        taken.append(claim)
    return taken, took


def _claims_at_once(settings: Settings, workers: Sequence[str], clients: int, count: int) -> tuple[float, list[float]]:
    """So many of each of some processes: claims a second in all, and the ms that each took."""
    spawn = multiprocessing.get_context("spawn")
    ready, answers = spawn.Barrier(clients), spawn.SimpleQueue()
    processes = [
        spawn.Process(target=_client, args=(settings, workers[n::clients], count, ready, answers))
        for n in range(clients)
    ]
    for process in processes:
        process.start()
    told = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    took_s = max(end for _, end, _ in told) - min(start for start, _, _ in told)
    return clients * count / took_s, [ms for _, _, took in told for ms in took]


def _client(
    settings: Settings, workers: Sequence[str], count: int, ready: Barrier, answers: "SimpleQueue[_Told]"
) -> None:
    with connect(settings.redis) as redis:
        ledger = Ledger(redis, settings)
        _claims(ledger, workers, 1)
        ready.wait()
        start = time.monotonic()
        _, took = _claims(ledger, workers, count)
        answers.put((start, time.monotonic(), took))


def _others(ledger: Ledger, busy: _Busy, taken: Sequence[Claim]) -> None:
    beats = [Beat(claim.job.id, claim.attempt) for claim in taken[:200]]
    busy.of("heartbeat, 200", lambda: ledger.heartbeats(beats))
    for claim in taken[:50]:
        busy.of("commit", lambda one=claim: ledger.commit(one.job.id, one.attempt, ARTIFACTS, gpu_s=100))
    queued = ledger.page("tenant-1", states=(), limit=50).jobs
    for job in queued:
        busy.of("explain", lambda one=job: ledger.standing(one.id))
    busy.of("reap", ledger.reap)
    busy.of("exporter", ledger.farm_numbers)
    busy.of("snapshot and forecast", Forecasting(ledger).refresh)
    busy.of("workers", ledger.workers)


if __name__ == "__main__":
    main()
