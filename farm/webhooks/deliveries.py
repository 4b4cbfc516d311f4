"""Deliveries in Redis: due, being posted, or given up (dead letters). Each step is one Lua script, so any
number of io workers may share them. Knows no HTTP and no job record. Its
keys are farm.ledger.keys.WEBHOOKS."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, cast

from redis import Redis
from redis.commands.core import Script

from farm.config import Settings
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys


def message_id(job_id: str) -> str:
    """The delivery of a job's one terminal event: scheduled twice, it is still one."""
    return f"msg_{job_id}"


@dataclass(frozen=True)
class Delivery:
    """One terminal event on its way to one address. `id` is also the webhook-id that receivers see: the same at every
    attempt and replay. `attempts` failed so far; `status` is the last answer's (0: none), `error` what went wrong."""

    id: str
    job: str
    tenant: str
    url: str
    dialect: str
    receiver: str
    state: str
    attempts: int
    first_ms: int
    created_ms: int
    tried_ms: int | None = None
    status: int = 0
    error: str = ""
    #: its receiver failed last
    suspect: bool = False
    #: when it was taken, by the clock that also gave the other times
    taken_ms: int = 0


@dataclass(frozen=True)
class Backlog:
    """pending: deliveries that are not settled; due_s: for how long the one is due that is due longest; dead: letters
    that were given up."""

    pending: int
    due_s: float
    dead: int


class Deliveries:
    """`redis` decodes responses. Every call may raise Unavailable. Threads may share one."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._keys = Keys(settings.redis.prefix)
        self._settings = settings.webhooks
        self._scripts: dict[str, Script] = {}

    def schedule(self, delivery_id: str, *, job: str, tenant: str, url: str, dialect: str, receiver: str) -> bool:
        """Due now; False when it had been scheduled before."""
        return bool(self._run("schedule", delivery_id, job, tenant, url, dialect, receiver))

    def take(self, count: int, *, suspects: int, lease_s: float) -> list[Delivery]:
        """Due deliveries, leased: one that is not settled in lease_s may be taken again."""
        if count <= 0:
            return []
        rows = self._run("take", count, max(suspects, 0), int(lease_s * 1000))
        return [_delivery(row[0], _pairs(row[1]), suspect=bool(row[2]), taken_ms=int(row[3])) for row in rows if row[1]]

    def delivered(self, delivery_id: str) -> bool:
        """The receiver has accepted it: remove the delivery. False when its lease was lost."""
        return self._settle(delivery_id, "delivered", 0, "", 0.0)

    def retry(self, delivery_id: str, *, status: int, error: str, pause_s: float) -> bool:
        """Due again in pause_s seconds. False when its lease was lost."""
        return self._settle(delivery_id, "retry", status, error, pause_s)

    def bury(self, delivery_id: str, *, status: int, error: str) -> bool:
        """Give up: it becomes a dead letter. False when its lease was lost."""
        return self._settle(delivery_id, "dead", status, error, 0.0)

    def _settle(self, delivery_id: str, outcome: str, status: int, error: str, pause_s: float) -> bool:
        pause_ms = int(pause_s * 1000)
        return bool(self._run("settle", delivery_id, outcome, status, error[:300], pause_ms, self._settings.dead_kept))

    def get(self, delivery_id: str) -> Delivery | None:
        """One delivery; None when it is not known (any more)."""
        with mapped():
            raw = cast("dict[str, str]", self._redis.hgetall(self._keys("hook", delivery_id)))
        return _delivery(delivery_id, raw) if raw else None

    def dead(self, tenant: str, *, count: int = 100) -> list[Delivery]:
        """Newest first."""
        with mapped():
            ids = cast("list[str]", self._redis.zrevrange(self._keys("hook_dead", tenant), 0, count - 1))
        return self._known(ids)

    def pending(self, *, count: int = 100) -> list[Delivery]:
        """Due or under way, over all receivers."""
        with mapped():
            tenants = cast("list[str]", self._redis.zrange(self._keys("hook_tenants"), 0, -1))
            keys = [self._keys("hook_receivers", tenant) for tenant in tenants]
            receivers = [one for key in keys for one in cast("list[str]", self._redis.zrange(key, 0, -1))]
            ids: list[str] = []
            for receiver in receivers:
                for kind in ("hook_leased", "hook_due"):
                    key = self._keys(kind, receiver)
                    ids += cast("list[str]", self._redis.zrange(key, 0, count - len(ids) - 1))
                    if len(ids) >= count:
                        return self._known(ids)
        return self._known(ids)

    def backlog(self, tenants: Sequence[str]) -> Backlog:
        """How much is under way; `tenants`: whose dead letters are counted."""
        pending, first_ms, dead, now_ms = self._run("backlog", *tenants)
        return Backlog(pending, max(0.0, (now_ms - first_ms) / 1000) if first_ms else 0.0, dead)

    def replay(self, tenant: str, delivery_id: str) -> bool:
        """A dead letter is due again, with all its retries; False when the tenant has no such one."""
        return bool(self._run("replay", tenant, delivery_id))

    def _known(self, ids: Sequence[str]) -> list[Delivery]:
        """Those of the ids that there are, in one round trip."""
        with mapped(), self._redis.pipeline(transaction=False) as pipe:
            for one in ids:
                pipe.hgetall(self._keys("hook", one))
            raws = pipe.execute()
        return [_delivery(one, raw) for one, raw in zip(ids, raws, strict=True) if raw]

    def _run(self, name: str, *args: str | int) -> Any:
        script = self._scripts.get(name)
        if script is None:
            folder = resources.files("farm.webhooks") / "lua"
            limits = f"{self._settings.per_receiver}, {max(1, self._settings.threads // 2)}"
            settings = f"local PER_RECEIVER, PER_TENANT = {limits}\n"
            text = settings + folder.joinpath("lib.lua").read_text() + folder.joinpath(f"{name}.lua").read_text()
            script = self._scripts[name] = self._redis.register_script(self._keys.filled_in(text))
        with mapped():
            return script(args=args)


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _delivery(delivery_id: str, raw: dict[str, str], *, suspect: bool = False, taken_ms: int = 0) -> Delivery:
    return Delivery(
        id=delivery_id,
        job=raw["job"],
        tenant=raw["tenant"],
        url=raw["url"],
        dialect=raw["dialect"],
        receiver=raw["receiver"],
        state=raw["state"],
        attempts=int(raw["attempts"]),
        first_ms=int(raw["first_ms"]),
        created_ms=int(raw["created_ms"]),
        tried_ms=int(raw["tried_ms"]) if "tried_ms" in raw else None,
        status=int(raw.get("status", 0)),
        error=raw.get("error", ""),
        suspect=suspect,
        taken_ms=taken_ms,
    )
