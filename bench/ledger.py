"""What the ledger costs as its queue grows: claims and commits per second, and bytes of Redis per queued job, beside
the same shots as bare Celery messages in a Redis list. One client, one server, on this machine; nothing is rendered."""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from celery import Celery
from redis import Redis

from bench import local_gateway
from bench.report import checked_server, show
from farm.config import RedisSettings, Settings
from farm.jobs.ids import new_job_id
from farm.jobs.job import Artifacts, NewJob
from farm.jobs.spec import JobSpec
from farm.ledger import Ledger, connect
from farm.scheduling.memory_fit import Memory, needs_of
from models import catalog
from models.planning.plan import Burden

SIZES, FULL = (1_000, 100_000), (1_000, 100_000, 1_000_000)
TENANTS, LANES, POOL = 50, 3, "gpu"
#: claims timed at each size, and how many are open at once before they are committed
CLAIMS, CLAIMS_AT_ONCE = 2_000, 100
ADMIT_AT_ONCE = 1_000
ARTIFACTS = Artifacts("v" * 90, "p" * 90, "r" * 90, 2_000_000, "a" * 64, 832, 480, 81, 16.0, 5.06)
PROMPT = "a red fox walks through fresh snow at dawn, slow dolly-in, breath visible in the cold air, cinematic light"
NEEDS = needs_of(Burden(catalog.get("wan2.2-t2v-a14b"), 832, 480, 81))
#: an 80 GB card in a machine of 512 GB
MEMORY = Memory(80_000, 512_000)
NEGATIVE = "blurry, low quality, watermark, subtitles, distorted hands, static, overexposed"


@dataclass(frozen=True)
class Numbers:
    """At one size of the queue."""

    bytes_each: float
    admitted_per_s: float
    claims_per_s: float
    claim_cpu_us: float
    commits_per_s: float


@contextmanager
def redis_server() -> Iterator[str]:
    """The embedded Redis with its own settings, but for the fsync: this measures the ledger, not the disk."""
    with (
        # a child of the server that writes its file anew may outlive it by a moment
        tempfile.TemporaryDirectory(prefix="wanfarm-bench-", ignore_cleanup_errors=True) as folder,
        local_gateway.redis_server(Path(folder), fsync="no") as url,
    ):
        yield f"{url}/0"


def jobs(chance: random.Random) -> Iterator[NewJob]:
    """Shots of many tenants, in a few lanes and priorities, some with a deadline."""
    while True:
        seed = chance.getrandbits(63)
        yield NewJob(
            id=new_job_id(),
            tenant=f"tenant-{chance.randrange(TENANTS)}",
            spec=JobSpec("wan2.2-t2v-a14b", "t2v", PROMPT, NEGATIVE, 832, 480, 81, 16, 40, 4.0, 3.0, 12.0, seed),
            pool=POOL,
            lane=f"wan2.2-t2v-a14b/bf16/{chance.randrange(LANES)}",
            predicted_s=chance.uniform(20, 400),
            wall_s=1800.0,
            priority=chance.choice([5, 5, 5, 7]),
            deadline_ms=chance.choice([None, None, 1_900_000_000_000]),
            needs=NEEDS,
        )


def measure_ledger(client: Redis, ledger: Ledger, size: int) -> Numbers:
    source, admitting_s = jobs(random.Random(size)), 0.0
    ledger.cancel("nobody", new_job_id())  # connects
    before = used_bytes(client)
    for piece in batched(source, size, ADMIT_AT_ONCE):
        start = time.perf_counter()
        ledger.admit(piece)
        admitting_s += time.perf_counter() - start
    # event streams are bounded per tenant and do not belong to a queued job
    client.delete(*(f"wf:events:tenant-{n}" for n in range(TENANTS)))
    bytes_each = (used_bytes(client) - before) / size

    claiming_s, committing_s, cpu_us, claims = 0.0, 0.0, 0.0, min(CLAIMS, size)
    for _ in range(0, claims, CLAIMS_AT_ONCE):
        cpu_s = redis_cpu_s(client)
        start = time.perf_counter()
        taken = [
            ledger.claim(POOL, "bench", loaded="wan2.2-t2v-a14b/bf16/0", memory=MEMORY) for _ in range(CLAIMS_AT_ONCE)
        ]
        claiming_s += time.perf_counter() - start
        cpu_us += (redis_cpu_s(client) - cpu_s) * 1e6
        start = time.perf_counter()
        for claim in taken:
            assert claim is not None, "the queue is shorter than it should be"
            ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=claim.job.predicted_s)
        committing_s += time.perf_counter() - start
    return Numbers(bytes_each, size / admitting_s, claims / claiming_s, cpu_us / claims, claims / committing_s)


def batched(source: Iterator[NewJob], total: int, at_once: int) -> Iterator[list[NewJob]]:
    for begin in range(0, total, at_once):
        yield list(islice(source, min(at_once, total - begin)))


def measure_celery(client: Redis, url: str, size: int) -> Numbers:
    """The same shots as messages in the list of a queue: one published by Celery, the others copies of it that differ
    in the seed. A claim is what kombu does for one: a pop, and the row of the messages that were not acknowledged."""
    app = Celery("bare", broker=url, set_as_current=False)
    shot = next(jobs(random.Random(size)))
    app.send_task("render", kwargs=shot.spec.to_json(), queue="bare")
    app.close()
    message = json.loads(str(client.lpop("bare")))
    before = used_bytes(client)
    start = time.perf_counter()
    for begin in range(0, size, ADMIT_AT_ONCE):
        with client.pipeline(transaction=False) as pipe:
            for _ in range(min(ADMIT_AT_ONCE, size - begin)):
                message["headers"]["id"] = message["properties"]["correlation_id"] = new_job_id()
                pipe.lpush("bare", json.dumps(message))
            pipe.execute()
    publishing_s = time.perf_counter() - start
    bytes_each = (used_bytes(client) - before) / size

    claims = min(CLAIMS, size)
    cpu_s = redis_cpu_s(client)
    start = time.perf_counter()
    for n in range(claims):
        _, raw = client.brpop("bare")
        with client.pipeline() as pipe:
            pipe.zadd("unacked_index", {str(n): n}).hset("unacked", str(n), raw).execute()
    claiming_s = time.perf_counter() - start
    cpu_us = (redis_cpu_s(client) - cpu_s) * 1e6
    start = time.perf_counter()
    for n in range(claims):
        with client.pipeline() as pipe:
            pipe.zrem("unacked_index", str(n)).hdel("unacked", str(n)).execute()
    acking_s = time.perf_counter() - start
    return Numbers(bytes_each, size / publishing_s, claims / claiming_s, cpu_us / claims, claims / acking_s)


def redis_cpu_s(client: Redis) -> float:
    """Of its main thread: what it does, however busy the machine is otherwise."""
    cpu = client.info("cpu")
    return float(cpu["used_cpu_user_main_thread"]) + float(cpu["used_cpu_sys_main_thread"])


def used_bytes(client: Redis) -> int:
    return int(client.info("memory")["used_memory"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument("--full", action="store_true", help="a million queued jobs too (about 2 GB, two minutes)")
    sizes = FULL if parser.parse_args(argv).full else SIZES
    rows: list[tuple[str, ...]] = []
    for size in sizes:
        for name in ("ledger", "bare Celery messages"):
            with redis_server() as url, connect(RedisSettings(ledger_url=url)) as client:
                server = checked_server(client, fsync="no")
                if name == "ledger":
                    ledger = Ledger(client, Settings(redis=RedisSettings(ledger_url=url, waitaof=False)))
                    numbers = measure_ledger(client, ledger, size)
                else:
                    numbers = measure_celery(client, url, size)
            figures = (numbers.bytes_each, numbers.admitted_per_s, numbers.claims_per_s)
            figures += (numbers.claim_cpu_us, numbers.commits_per_s)
            rows.append((f"{size:,} queued: {name}", *(f"{figure:,.0f}" for figure in figures)))
    show(
        "The ledger as its queue grows",
        ("", "bytes each", "admitted/s", "claims/s", "Redis us", "commits/s"),
        rows,
        "one client, one request at a time; 'Redis us': processor time of Redis for one claim",
        server=server,
    )


if __name__ == "__main__":
    main()
