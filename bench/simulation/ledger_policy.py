"""The farm's own rule: its scripts on a real server, on a virtual clock."""

from collections.abc import Mapping

from redis import Redis

from bench.ledger import ADMIT_AT_ONCE, ARTIFACTS
from bench.simulation.farm import TICK_S
from bench.simulation.trace import Trace, TraceShot
from bench.virtual_clock import VirtualClock
from farm.config import LeaseSettings, RedisSettings, SchedulingSettings, Settings
from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.ids import new_job_id
from farm.jobs.job import Claim, Job, NewJob
from farm.jobs.spec import JobSpec
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger
from farm.ledger.outcomes import Beat, FailOutcome
from farm.scheduling.memory_fit import Memory

POOL, PREFIX, START_MS = "gpu", "sim", 1_000_000_000_000
#: for what the simulation does between two calls, whatever the clock shows
_PATIENCE_S = 1e8
_SPEC = JobSpec("wan2.2-t2v-a14b", "t2v", "a fox", "", 832, 480, 81, 16, 40, 4.0, 3.0, 12.0, 1)
SMALL, LARGE = Memory(32_000, 256_000), Memory(80_000, 256_000)


def settings(scheduling: SchedulingSettings | None = None) -> Settings:
    """Of the simulated farm: leases are renewed at every tick."""
    return Settings(
        redis=RedisSettings(prefix=PREFIX, waitaof=False, socket_timeout_s=_PATIENCE_S),
        lease=LeaseSettings(seconds=3 * TICK_S, backoff_s=10.0, backoff_max_s=60.0),
        scheduling=(scheduling or SchedulingSettings()).model_copy(update={"max_open": 10_000_000}),
    )


class LedgerPolicy:
    """Runs lua/*.lua on `redis`, whose keys under PREFIX it deletes first."""

    def __init__(self, trace: Trace, redis: Redis, changes: Mapping[str, float] | None = None) -> None:
        """`changes`: settings of `scheduling` that are not the defaults."""
        for key in redis.scan_iter(f"{PREFIX}:*", count=10_000):
            redis.delete(key)
        scheduling = SchedulingSettings.model_validate(changes or {})
        self.name = ", ".join(["the farm", *(f"{name} {value:g}" for name, value in (changes or {}).items())])
        self.trace, self.clock = trace, VirtualClock(redis, PREFIX, START_MS)
        self.ledger = Ledger(redis, settings(scheduling), clock=self.clock.lua)
        self.now_s = 0.0
        self.shots: dict[str, TraceShot] = {}
        self.ids: dict[str, str] = {}
        self.claims: dict[str, Claim] = {}
        self.gone: dict[str, TraceShot] = {}
        for tenant, weight in trace.weights.items():
            redis.hset(f"{PREFIX}:tenant:{tenant}", "weight", weight)
        #: who is live decides only where a job is left to another worker
        self.presence = not all(trace.large) or any(shot.poison for shot in trace.shots)
        self._all_seen()

    def _all_seen(self) -> None:
        for worker in range(self.trace.gpus if self.presence else 0):
            self._seen(worker)

    def _to(self, now_s: float) -> None:
        if now_s > self.now_s:
            self.clock.move(now_s - self.now_s)
            self.now_s = now_s

    def _memory(self, worker: int) -> Memory | None:
        if all(self.trace.large):
            return None
        return LARGE if self.trace.large[worker] else SMALL

    def _seen(self, worker: int) -> None:
        memory = self._memory(worker)
        told = {"device_bytes": memory.device_mb * 1e6, "host_bytes": memory.host_mb * 1e6} if memory else {}
        self.ledger.worker_seen(f"w{worker}", POOL, WorkerStatus(memory=told), ttl_s=2 * TICK_S)

    def _job(self, shot: TraceShot) -> NewJob:
        job_id = self.ids[shot.name] = new_job_id()
        self.shots[job_id] = shot
        return NewJob(
            id=job_id,
            tenant=shot.tenant,
            spec=_SPEC,
            pool=POOL,
            lane=shot.lane,
            predicted_s=shot.predicted_s,
            wall_s=1e6,
            priority=shot.priority,
            deadline_ms=None if shot.deadline_s is None else START_MS + round(1000 * shot.deadline_s),
            needs=f"{60_000 if shot.large else 20_000}:64000" if not all(self.trace.large) else "",
            tier=shot.tier,
        )

    def admit(self, shots: list[TraceShot], now_s: float) -> None:
        self._to(now_s)
        for at in range(0, len(shots), ADMIT_AT_ONCE):
            self.ledger.admit([self._job(shot) for shot in shots[at : at + ADMIT_AT_ONCE]])

    def claim(self, worker: int, loaded: str | None, now_s: float) -> TraceShot | None:
        self._to(now_s)
        claim = self.ledger.claim(
            POOL, f"w{worker}", loaded=loaded, memory=self._memory(worker), patience_s=_PATIENCE_S
        )
        if claim is None:
            return None
        self.claims[claim.job.id] = claim
        self.ledger.heartbeat(claim.job.id, claim.attempt)
        return self.shots[claim.job.id]

    def _take(self, shot: TraceShot, now_s: float) -> Claim:
        self._to(now_s)
        return self.claims.pop(self.ids[shot.name])

    def done(self, shot: TraceShot, worker: int, now_s: float, took_s: float) -> None:
        claim = self._take(shot, now_s)
        self.ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=took_s)

    def failed(self, shot: TraceShot, worker: int, now_s: float, took_s: float) -> float | None:
        claim = self._take(shot, now_s)
        outcome, _ = self.ledger.fail(
            claim.job.id, claim.attempt, JobFault(FaultCode.ENGINE_ERROR, "poison"), gpu_s=took_s
        )
        if outcome is not FailOutcome.RETRY:
            return None
        job = self.ledger.get(shot.tenant, claim.job.id)
        assert job is not None
        return self._wait_s(job)

    def _wait_s(self, job: Job) -> float:
        """Until the time of its retry has come, no worker may take it."""
        return max(0.0, ((job.not_before_ms or 0) - START_MS) / 1000 - self.now_s)

    def lost(self, shot: TraceShot, worker: int, now_s: float) -> None:
        self._to(now_s)
        claim = self.claims.pop(self.ids[shot.name])
        self.gone[claim.job.id] = shot

    def tick(self, now_s: float) -> list[tuple[TraceShot, float | None]]:
        self._to(now_s)
        beats = [Beat(claim.job.id, claim.attempt) for claim in self.claims.values()]
        for at in range(0, len(beats), 200):
            self.ledger.heartbeats(beats[at : at + 200])
        self._all_seen()
        self.ledger.reap(limit=100_000)
        back: list[tuple[TraceShot, float | None]] = []
        for job_id, shot in list(self.gone.items()):
            job = self.ledger.get(shot.tenant, job_id)
            assert job is not None
            # one that was lost too often has failed
            if job.state is not State.RUNNING:
                del self.gone[job_id]
                back.append((shot, self._wait_s(job) if job.state is State.QUEUED else None))
        return back
