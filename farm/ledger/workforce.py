"""Workers that are live, the permits that wake them, and how fast they are."""

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha1
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, cast

from farm.jobs.metrics_page import MetricsPage
from farm.jobs.worker_status import AT_WORK, LiveWorker, WorkerState, WorkerStatus
from farm.ledger.connection import mapped
from farm.ledger.outcomes import Permit
from farm.ledger.scripts import Scripted
from farm.scheduling.memory_fit import Memory
from farm.scheduling.offers import PoolOffer
from farm.scheduling.throughput import Speed, learned

#: how long a worker may take to hear that it was forgiven
FORGIVEN_S = 60
#: workers whose names, or facts, are read in one call
_READ_AT_ONCE = 500
_STATES = {str(state): state for state in WorkerState}


class RollCall(NamedTuple):
    """What is listed of a live worker without reading all that it told. They are sorted by pool and name."""

    pool: str
    worker: str
    state: WorkerState
    lane: str | None
    until_ms: int


def permits(flat: Sequence[str]) -> list[Permit]:
    """The permits that a script answers as {id of a permit, pool, ...}."""
    return [Permit(permit_id, pool) for permit_id, pool in zip(flat[::2], flat[1::2], strict=True)]


def mark(status: WorkerStatus, slots: int) -> str:
    """Tells one announcement from another, for heartbeats to name it."""
    told = f"{slots} {json.dumps(status.to_json())}"
    return sha1(told.encode(), usedforsecurity=False).hexdigest()[:12]


class Workforce(Scripted):
    """Every call raises Unavailable."""

    def permits_wanted(self, pool: str, *, heard_none: bool = False) -> list[Permit]:
        """Reserve as many permits as there are claimable jobs and workers not yet woken. `heard_none`: the caller is a
        free worker to which none came: those that are overdue are lost, also while leases fill the slots."""
        return permits(self.run("permits", pool, int(heard_none)))

    def claimable(self, pool: str, *, most: int = 1) -> int:
        """Jobs of the pool that could be claimed now, counted no further than `most`."""
        return int(self.run("claimable", pool, most))

    def worker_seen(self, worker: str, pool: str, status: WorkerStatus, *, ttl_s: float, slots: int = 1) -> None:
        """Keep `worker` among the pool's live workers for `ttl_s`. `slots`: jobs that it takes at once; 0 for one that
        shall be seen and not be woken. `status.memory` decides which jobs are left to it."""
        memory = Memory.of(status.memory)
        told = json.dumps(status.to_json())
        counted = (status.state, _able(status), memory.text if memory else "", " ".join(sorted(status.models)))
        self.run("worker_seen", worker, pool, told, int(ttl_s * 1000), mark(status, slots), slots, *counted)

    def worker_gone(self, worker: str, pool: str) -> None:
        """The worker takes no more jobs. Raises Unavailable."""
        self.run("worker_gone", worker, pool)

    def workers(self) -> list[LiveWorker]:
        """Every live worker, by pool and name, in many short calls. For operators and Prometheus' discovery: it costs
        what there are of them."""
        return self.some_workers(limit=None)[0]

    def some_workers(self, *, after: tuple[str, str] | None = None, limit: int | None) -> tuple[list[LiveWorker], bool]:
        """Those behind this pool and name, in that order, at most so many; and whether there are more. The others are
        only listed."""
        listed = self.roll_call()
        begin = 0 if after is None else bisect_right(listed, after, key=lambda one: (one.pool, one.worker))
        end = len(listed) if limit is None else begin + limit
        return self.told_by(listed[begin:end]), end < len(listed)

    def roll_call(self) -> list[RollCall]:
        """Every live worker, by pool and name, in many short calls, each once."""
        with mapped():
            pools = cast("set[str]", self._redis.smembers(self._keys("pools")))
        found: dict[tuple[str, str], RollCall] = {}
        for pool in sorted(pools):
            cursor = "0"
            while True:
                cursor, lines = self.run("roll", pool, cursor, _READ_AT_ONCE)
                for line in lines.splitlines():
                    state, until, lane, worker = line.split(" ", 3)
                    known = _STATES.get(state, WorkerState.BUSY)
                    found[pool, worker] = RollCall(pool, worker, known, lane if lane != "-" else None, int(until))
                if cursor == "0":
                    break
        return sorted(found.values())

    def told_by(self, listed: Sequence[RollCall]) -> list[LiveWorker]:
        """All that these workers told, in their order; one that said goodbye meanwhile is left out."""
        found: dict[RollCall, LiveWorker] = {}
        for pool, few in groupby(sorted(listed), key=attrgetter("pool")):
            found |= self._facts(pool, list(few))
        return [found[one] for one in listed if one in found]

    def is_live(self, worker: str) -> bool:
        """Whether a worker of this name is live, in any pool."""
        now_ms = int(self.run("now"))
        with mapped():
            pools = cast("set[str]", self._redis.smembers(self._keys("pools")))
            until = [self._redis.zscore(self._keys("workers", pool), worker) for pool in pools]
        return any(isinstance(one, float) and one > now_ms for one in until)

    def _facts(self, pool: str, listed: Sequence[RollCall]) -> dict[RollCall, LiveWorker]:
        found, key = list[str | None](), self._keys("facts", pool)
        for begin in range(0, len(listed), _READ_AT_ONCE):
            asked = [one.worker for one in listed[begin : begin + _READ_AT_ONCE]]
            with mapped():
                found += cast("list[str | None]", self._redis.hmget(key, asked))
        heard = {
            one: WorkerStatus.from_json(json.loads(told))
            for one, told in zip(listed, found, strict=True)
            if told is not None
        }
        statuses = zip(heard, self._with_phases(list(heard.values())), strict=True)
        return {one: LiveWorker(one.worker, pool, status, one.until_ms) for one, status in statuses}

    def _with_phases(self, told: Sequence[WorkerStatus]) -> list[WorkerStatus]:
        """Each with the phase of its job: heartbeats tell the job's record, and no worker announces itself for it."""
        with mapped(), self._redis.pipeline(transaction=False) as pipe:
            for status in told:
                if status.job:
                    pipe.hget(self._keys("job", status.job), "phase")
            phases = iter(pipe.execute())
        return [replace(status, phase=next(phases)) if status.job else status for status in told]

    def offers(self) -> list[PoolOffer]:
        """What the workers of each pool offer, or offered within scheduling.elsewhere_s. Costs what there are of
        different offers, not of workers."""
        found = []
        for pool, flat in self.run("offers"):
            for offer, live, able, idle, locked in zip(*(flat[n::5] for n in range(5)), strict=True):
                memory, _, models = offer.partition("|")
                counts = (int(live), int(able), int(idle), int(locked))
                found.append(PoolOffer(pool, tuple(models.split()), Memory.parse(memory), *counts))
        return found

    def may_prefetch(self, pool: str, worker: str) -> bool:
        """Whether a job could be claimed now, and no other worker of the pool is idle and able to take it."""
        return bool(self.run("may_prefetch", pool, worker))

    # --- pages of metrics
    def page_seen(self, page: MetricsPage, *, ttl_s: float) -> None:
        """There is such a page for `ttl_s`. Raises Unavailable."""
        self.run("page_seen", f"{page.role} {page.machine} {page.address}", int(ttl_s * 1000))

    def pages(self) -> list[MetricsPage]:
        """Pages of processes that are no workers, which tell theirs in their status."""
        return sorted(MetricsPage(*told.split(" ", 2)) for told in self.run("pages"))

    # --- quarantine
    def forgiven(self, worker: str) -> bool:
        """Whether an operator lifted the quarantine of `worker` (Operations.forgive) since this was last asked."""
        with mapped():
            return bool(self._redis.delete(self._keys("forgiven", worker)))

    # --- speed
    def speeds(self, pool: str) -> Mapping[str, Speed]:
        """What was measured of each lane on one GPU of the pool."""
        with mapped():
            texts = cast("dict[str, str]", self._redis.hgetall(self._keys("speeds", pool)))
        return {lane: _speed(text) for lane, text in texts.items()}

    def rendered(self, pool: str, lane: str, *, work_tflop: float, seconds: float) -> None:
        """A render of `work_tflop` took `seconds` on a warm model. Of two at the same moment one may be forgotten: it
        is an estimate."""
        key = self._keys("speeds", pool)
        with mapped():
            text = self._redis.hget(key, lane)
            speed = learned(_speed(text) if isinstance(text, str) else None, work_tflop, seconds)
            if speed is not None:
                self._redis.hset(key, lane, f"{speed.s_per_tflop!r} {speed.samples}")


def _able(status: WorkerStatus) -> int:
    """As lua/lib/workforce.lua counts it."""
    if status.leaves or status.state not in AT_WORK:
        return 0
    return 1 if status.state is WorkerState.IDLE else 2


def _speed(text: str) -> Speed:
    s_per_tflop, samples = text.split()
    return Speed(float(s_per_tflop), int(samples))
