"""What N workers cost the ledger's Redis: the calls of that many busy agents, each on a connection of its own, with the
processor time of Redis for each call and how often an agent makes it. One process plays all agents, one call after
another, so Redis wakes for every single call as it does for real ones."""

import argparse
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from redis import Connection, ConnectionPool, Redis

from bench.ledger import ARTIFACTS, MEMORY, POOL, jobs, redis_cpu_s, redis_server
from bench.report import checked_server, p50, p99, show
from farm.claiming.leases import REPORT_SHARE, LeaseKeeper
from farm.config import RedisSettings, Settings
from farm.jobs.states import Phase
from farm.jobs.worker_status import WorkerState, WorkerStatus
from farm.ledger import Beat, Ledger
from farm.ledger.connection import LISTENING_CHECK_S
from farm.ledger.job_lines import JobLine
from farm.ledger.outcomes import PresenceBeat
from farm.ledger.workforce import mark
from models import catalog

SIZES, FULL = (100, 1_000), (100, 1_000, 10_000)
#: a render of 40 steps by a loaded model: seconds, phases that are reported (loading is over at once), changes of its
#: worker's status
RENDER_S, PHASES, CHANGES = 300.0, 6, 2
#: gateways ask for offers once a second, Prometheus through one of them for every page of metrics
GATEWAYS, DISCOVERY_S, SCRAPE_S = 4, 60.0, 15.0
#: workers that listen for cancels besides the measured one; more connections a process may not have here
LISTENERS = 9_000
CANCELS = 50
#: calls timed of each kind at each size: each agent once at least, up to this many
CALLS = 1_000


class ConnectionsInTurn(ConnectionPool):
    """A connection for each agent, used in turn: Redis sees as many clients as there are agents."""

    def __init__(self, url: str, size: int) -> None:
        parsed = Redis.from_url(url).connection_pool.connection_kwargs
        super().__init__(Connection, max_connections=size, **{**parsed, "decode_responses": True})
        self._turn: deque[Any] = deque()
        for _ in range(size):
            connection = self.make_connection()
            connection.connect()
            self._turn.append(connection)

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        return self._turn.popleft()

    def release(self, connection: Any) -> None:
        self._turn.append(connection)

    def close_all(self) -> None:
        for connection in self._turn:
            connection.disconnect()


@dataclass
class TimedCall:
    """One kind of call: `per_s` is how often one agent makes it (`shared`: how often the whole farm does)."""

    name: str
    per_s: float
    run: Callable[[int], object]
    shared: bool = False
    cpu_us: float = 0.0
    wall_us: list[float] = field(default_factory=list)


class Crowd:
    """N busy agents, each with one attempt, and a queue that is never empty."""

    def __init__(self, client: Redis, any_agent: Redis, settings: Settings, size: int) -> None:
        """`any_agent` uses the connections of all in turn, `client` its own."""
        self.client, self.any_agent, self.size = client, any_agent, size
        self.ledger, self.ledger_of_one = Ledger(any_agent, settings), Ledger(client, settings)
        self._jobs = jobs(random.Random(size))
        models = tuple(model.id for model in catalog.MODELS.values() if not model.weights.tiny)
        self._told = {"device_bytes": MEMORY.device_mb * 1e6, "host_bytes": MEMORY.host_mb * 1e6}
        self._status = WorkerStatus("NVIDIA H100", WorkerState.BUSY, models, "gpu-0", models[0], self._told)
        self._mark = mark(self._status, 1)
        self._held, self._phases = [], [Phase.ASSIGNED] * size
        for n in range(size):
            self._seen(n)
        for begin in range(0, size + CALLS, 500):
            self.ledger.admit([next(self._jobs) for _ in range(min(500, size + CALLS - begin))])
        for n in range(size):
            claim = self.ledger.claim(POOL, _name(n), memory=MEMORY)
            assert claim is not None
            self._held.append(claim)

    def calls(self) -> list[TimedCall]:
        """What a busy agent says to Redis, and how often; then what its job costs once."""
        once, beats = 1 / RENDER_S, RENDER_S / (Settings().lease.seconds / 3)
        # progress goes with the beats; the first phase of a render is reported with the first of them
        reports = max(1 / REPORT_SHARE, beats) - 1
        return [
            TimedCall("GET, for comparison", 0.0, lambda _: self.any_agent.get("nothing")),
            TimedCall("heartbeat: progress, presence", reports * once, lambda n: self._beat(n, Phase.DENOISING, True)),
            TimedCall("heartbeat: a new phase", PHASES * once, lambda n: self._beat(n, self._next_phase(n), False)),
            TimedCall("worker_seen", CHANGES * once, self._seen),
            TimedCall("ping of the subscription", 1 / LISTENING_CHECK_S, lambda _: self.any_agent.ping()),
            TimedCall("admit", once, lambda _: self.ledger.admit([next(self._jobs)])),
            TimedCall("may_prefetch", once, lambda n: self.ledger.may_prefetch(POOL, _name(n))),
            TimedCall("claim", once, self._claim),
            TimedCall("permits", once, lambda _: self.ledger.permits_wanted(POOL)),
            TimedCall("policy of the tenant", once, lambda _: self.any_agent.hgetall("wf:tenant:tenant-1")),
            TimedCall("lines for the owner", once, self._lines),
            TimedCall("commit", once, self._commit),
            TimedCall("throughput", once, lambda _: self.ledger.rendered(POOL, "lane", work_tflop=9.0, seconds=9.0)),
            TimedCall("WAITAOF", 3 * once, lambda _: self.any_agent.waitaof(0, 0, 1)),
            TimedCall("offers, of gateways", GATEWAYS, lambda _: self.ledger.offers(), shared=True),
            TimedCall("workers, of operators", 1 / DISCOVERY_S, lambda _: self.ledger.workers(), shared=True),
            TimedCall("farm_numbers, of the exporter", 1 / SCRAPE_S, lambda _: self.ledger.farm_numbers(), shared=True),
        ]

    def cancel_heard_ms(self) -> list[float]:
        """From the call that cancels to the agent that hears it, with all others listening as well."""
        heard, waits = threading.Event(), list[float]()
        keeper = LeaseKeeper(self.ledger_of_one, Settings().lease.seconds, _name(0))
        with self._listening():
            for _ in range(CANCELS):
                claim = self.ledger.claim(POOL, _name(0), memory=MEMORY)
                assert claim is not None
                heard.clear()
                lease = keeper.hold(claim, lambda _: heard.set())
                channel = f"wf:notices:{_name(0)}"
                while not dict(self.client.pubsub_numsub(channel))[channel]:
                    time.sleep(0.01)
                start = time.perf_counter()
                self.ledger.cancel(claim.job.tenant, claim.job.id)
                heard.wait(60)
                waits.append((time.perf_counter() - start) * 1000)
                lease.drop()
                self.ledger.release(claim.job.id, claim.attempt)
        keeper.close()
        return waits

    @contextmanager
    def _listening(self) -> Iterator[None]:
        ways = [self.ledger_of_one.notices(_name(n)) for n in range(1, min(self.size, LISTENERS))]
        try:
            for way in ways:
                way.wait(0)
            yield
        finally:
            for way in ways:
                way.close()

    def measure(self, call: TimedCall) -> None:
        # what costs milliseconds needs no thousands of calls
        trial = self._timed(call, 3)
        count = CALLS if trial < 5_000 else 20
        call.wall_us.clear()
        call.cpu_us = self._timed(call, count)

    def _timed(self, call: TimedCall, count: int) -> float:
        before = redis_cpu_s(self.client)
        for n in range(count):
            start = time.perf_counter()
            call.run(n % self.size)
            call.wall_us.append((time.perf_counter() - start) * 1e6)
        return (redis_cpu_s(self.client) - before) * 1e6 / count

    def _seen(self, n: int) -> None:
        self.ledger.worker_seen(_name(n), POOL, self._status, ttl_s=600)

    def _beat(self, n: int, phase: Phase, renews: bool) -> None:
        job, attempt = self._held[n].job.id, self._held[n].attempt
        renewal = PresenceBeat(_name(n), POOL, self._mark, 600) if renews else None
        answer = self.ledger.beat([Beat(job, attempt, phase, random.random(), 3, 40)], renewal)
        assert answer.known

    def _next_phase(self, n: int) -> Phase:
        self._phases[n] = Phase.DECODING if self._phases[n] is Phase.ENCODING else Phase.ENCODING
        return self._phases[n]

    def _lines(self, n: int) -> None:
        lines = [JobLine(1_800_000_000_000, f"the model was ready after {n} s") for _ in range(5)]
        self.ledger.keep_lines(self._held[n].job.id, self._held[n].attempt, lines)

    def _claim(self, n: int) -> None:
        claim = self.ledger.claim(POOL, _name(n), memory=MEMORY)
        assert claim is not None
        self._held.append(claim)

    def _commit(self, _n: int) -> None:
        claim = self._held.pop()
        self.ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=claim.job.predicted_s)


def _name(n: int) -> str:
    return f"host-{n // 8:04}/gpu-{n % 8}"


@contextmanager
def crowd(size: int) -> Iterator[tuple[Crowd, str]]:
    """So many agents on a Redis of their own, and its name."""
    with redis_server() as url, Redis.from_url(url, decode_responses=True, max_connections=20_000) as client:
        client.config_set("maxclients", 19_900)
        server = checked_server(client, fsync="no")
        pool = ConnectionsInTurn(url, size)
        settings = Settings(redis=RedisSettings(ledger_url=url, waitaof=False))
        try:
            yield Crowd(client, Redis(connection_pool=pool), settings, size), server
        finally:
            pool.close_all()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.crowd", description=__doc__)
    parser.add_argument("--full", action="store_true", help="10,000 agents too")
    sizes = FULL if parser.parse_args(argv).full else SIZES
    measured: dict[int, list[TimedCall]] = {}
    cancels: dict[int, list[float]] = {}
    for size in sizes:
        with crowd(size) as (agents, server):
            measured[size] = agents.calls()
            for call in measured[size]:
                agents.measure(call)
            cancels[size] = agents.cancel_heard_ms()
    assert measured
    columns = ["Redis us a call", *(f"{size:,}" for size in sizes), "calls/s of one"]
    rows = [
        [call.name, *(f"{measured[size][n].cpu_us:,.0f}" for size in sizes), f"{call.per_s:.3f}"]
        for n, call in enumerate(measured[sizes[0]])
    ]
    rows.append(["us/s of one agent", *(f"{_each_us(measured[size]):,.1f}" for size in sizes), ""])
    rows.append(["cores of Redis", *(f"{_cores(measured[size], size):,.3f}" for size in sizes), ""])
    rows.append(["cancel heard, ms p50", *(f"{p50(cancels[size]):,.1f}" for size in sizes), ""])
    rows.append(["cancel heard, ms p99", *(f"{p99(cancels[size]):,.1f}" for size in sizes), ""])
    show("Busy agents on one ledger", columns, rows, server=server)


def _each_us(calls: Sequence[TimedCall]) -> float:
    return sum(call.cpu_us * call.per_s for call in calls if not call.shared)


def _cores(calls: Sequence[TimedCall], size: int) -> float:
    shared = sum(call.cpu_us * call.per_s for call in calls if call.shared)
    return (_each_us(calls) * size + shared) / 1e6


if __name__ == "__main__":
    main()
