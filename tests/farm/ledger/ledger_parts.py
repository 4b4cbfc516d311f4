"""What the tests of the ledger share: jobs to admit, artifacts to commit, and time that can be moved."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from redis import Redis

from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.ids import new_job_id
from farm.jobs.job import Artifacts, Claim, Fence, NewJob
from farm.jobs.purchase import OverCap
from farm.jobs.spec import InputRef, JobSpec
from farm.ledger import Ledger

T = TypeVar("T")
POOL = "gpu"
PREDICTED_S = 10.0
ARTIFACTS = Artifacts("v.mp4", "p.jpg", "r.json", 1234, "ab" * 32, 832, 480, 81, 16.0, 5.06)
BROKE = JobFault(FaultCode.ENGINE_ERROR, "the pipeline raised")
DIED = JobFault(FaultCode.ENGINE_DIED, "the engine was killed")
REFUSED = JobFault(FaultCode.INVALID_INPUT, "the picture is not a picture")


class ByNumber(Ledger):
    """A ledger that lets a test name an attempt by its bare number: it remembers the fences that claims gave."""

    _given: ClassVar[dict[str, str]] = {}

    def claim(self, *args: Any, **more: Any) -> Claim | None:
        return self._remember(super().claim(*args, **more))

    def buy(self, *args: Any, **more: Any) -> Claim | OverCap | None:
        claim = super().buy(*args, **more)
        return claim if isinstance(claim, OverCap) else self._remember(claim)

    def _remember(self, claim: Claim | None) -> Claim | None:
        if claim is not None:
            self._given[f"{claim.job.id} {Fence.text(int(claim.attempt))}"] = Fence.text(claim.attempt)
        return claim

    def run(self, name: str, *args: str | int | float, durable: bool = False) -> Any:
        """A heartbeat's attempts have six arguments each behind four of the worker; every other write begins with the
        job and the attempt."""
        named = list(args)
        if name in ("heartbeat", "commit", "fail", "release", "unbuy", "intake_done"):
            begin, width = (5, 6) if name == "heartbeat" else (1, len(named))
            for at in range(begin, len(named), width):
                named[at] = self._given.get(f"{named[at - 1]} {named[at]}", named[at])
        return super().run(name, *named, durable=durable)


def spec(**changes: Any) -> JobSpec:
    values: dict[str, Any] = {
        "model": "wan2.2-t2v-a14b",
        "task": "t2v",
        "prompt": "a fox in the snow",
        "negative_prompt": "blurry",
        "width": 832,
        "height": 480,
        "frames": 81,
        "fps": 16,
        "steps": 40,
        "guidance": 4.0,
        "guidance_2": 3.0,
        "shift": 12.0,
        "seed": 2**63 - 1,
    }
    return JobSpec(**(values | changes))


def new_job(tenant: str = "acme", *, intake: bool = False, **changes: Any) -> NewJob:
    values: dict[str, Any] = {
        "id": new_job_id(),
        "tenant": tenant,
        "spec": spec(inputs={"image": InputRef(url="https://example.org/fox.png")}) if intake else spec(),
        "pool": POOL,
        "lane": "wan-bf16",
        "predicted_s": PREDICTED_S,
        "wall_s": 1800.0,
    }
    return NewJob(**(values | changes))


def admit(ledger: Ledger, *jobs: NewJob) -> list[str]:
    answers, _permits = ledger.admit(jobs)
    return [answer.id for answer in answers]


def claimed(ledger: Ledger, pool: str = POOL, worker: str = "w1", *, heard: bool = True, **more: Any) -> Claim:
    """A claim, and the first heartbeat, which a worker sends at once."""
    claim = ledger.claim(pool, worker, **more)
    assert claim is not None, f"nothing to claim in {pool}"
    if heard:
        ledger.heartbeat(claim.job.id, claim.attempt)
    return claim


def pass_time(redis: Redis, seconds: float, prefix: str = "wf") -> None:
    """As if the server's clock had jumped while the reaper was at its post: everything that the ledger has stored as a
    time moves into the past. (The scripts read TIME and nothing else, so this needs no door in them.)"""
    ms = int(seconds * 1000)
    _pass_windows(redis, ms, prefix)
    for kind in ("leases", "delayed", "permits", "workers", "provider"):
        for key in redis.scan_iter(f"{prefix}:{kind}:*", _type="ZSET"):
            for member, score in redis.zrange(key, 0, -1, withscores=True):
                redis.zadd(key, {member: score - ms})
                if kind == "leases" and redis.hexists(f"{prefix}:job:{member}", "started_ms"):
                    redis.hincrby(f"{prefix}:job:{member}", "started_ms", -ms)
    for key in redis.scan_iter(f"{prefix}:held:*"):
        for job_id in redis.zrange(key, 0, -1):
            if redis.hexists(f"{prefix}:job:{job_id}", "not_before_ms"):
                redis.hincrby(f"{prefix}:job:{job_id}", "not_before_ms", -ms)
    for key in redis.scan_iter(f"{prefix}:rate:*"):
        redis.set(key, float(redis.get(key)) - ms)


def _pass_windows(redis: Redis, ms: int, prefix: str) -> None:
    for key in redis.scan_iter(f"{prefix}:job:*"):
        for name in ("start_by_ms", "rises_ms", "expires_ms"):
            if redis.hexists(key, name):
                redis.hincrby(key, name, -ms)
    if due := redis.zrange(f"{prefix}:due", 0, -1, withscores=True):
        redis.zadd(f"{prefix}:due", {member: score - ms for member, score in due})


def outage(redis: Redis, seconds: float, prefix: str = "wf") -> None:
    """As if everything had stood still: time passed, and nobody could renew a lease or reap."""
    pass_time(redis, seconds, prefix)
    if reaped := redis.get(f"{prefix}:reaped"):
        redis.set(f"{prefix}:reaped", int(reaped) - int(seconds * 1000))


def audit(ledger: Ledger, limit: int = 7) -> dict[str, int]:
    """The drift that a whole audit finds."""
    drift: dict[str, int] = {}
    cursor = None
    while True:
        report = ledger.audit(cursor, limit)
        for name, count in report.drift.items():
            drift[name] = drift.get(name, 0) + count
        cursor = report.cursor
        if cursor is None:
            return drift


def commands(redis: Redis, call: Callable[[], T]) -> tuple[T, int]:
    """What the call answers, and how many commands Redis carried out for it, those within scripts included."""
    redis.config_resetstat()
    answer = call()
    stats = redis.info("commandstats")
    return answer, sum(
        stats[name]["calls"] for name in stats if name not in ("cmdstat_config|resetstat", "cmdstat_info")
    )
