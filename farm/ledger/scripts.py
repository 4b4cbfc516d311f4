"""The Lua scripts: put together from lua/*.lua, with the farm's words filled in, and run.

In a script `State.QUEUED`, `Fault.WORKER_LOST`, `Setting.LEASE_MS` or `Table.RETRYABLE` is replaced by the value that
Python has for it, `Text.RETRYABLE` by its words between spaces, `Key.queue(pool, tenant)` by the
name made from farm.ledger.keys, and `-- uses: a b` brings in what is used of lua/lib/a.lua and lib/b.lua. A name that
does not exist is an error when the script is loaded. `-- seldom: f g` names functions that a script calls once or not
at all: what only they need is made when they are called (farm.ledger.nested).

The clock is chosen here too: lib/clock.lua, the server's own, unless a simulation hands over another text. What is sent
to a farm's Redis reads TIME and nothing else.
"""

import re
import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from typing import Any

from redis import Redis
from redis.commands.core import Script
from redis.exceptions import ReadOnlyError, ResponseError

from farm.config import Settings
from farm.jobs.batch import ActKind, ActState, BatchState
from farm.jobs.errors import KILLS_WORKER, RETRYABLE, FaultCode, Unavailable
from farm.jobs.purchase import PurchaseNews, PurchaseState
from farm.jobs.standing import Limit
from farm.jobs.states import HOLDS_INTAKE, PROVIDER_PHASES, TERMINAL, TRANSITIONS, HoldReason, Phase, State, Tier
from farm.ledger.connection import mapped
from farm.ledger.durable import Command, run_and_ask
from farm.ledger.keys import Keys
from farm.ledger.nested import nested
from farm.ledger.outcomes import (
    CancelOutcome,
    CommitOutcome,
    FailOutcome,
    HoldOutcome,
    OperationOutcome,
    StatementKind,
    Verdict,
)
from farm.ledger.server import look
from farm.ledger.server_clock import ServerClock
from farm.ledger.unused import without_unused

#: the pool of the io worker: jobs in state `waiting` are queued there for intake
INTAKE_POOL = "intake"
#: the pool of bought jobs: those that no process follows are queued there to be resumed
BURST_POOL = "burst"
#: events kept per tenant, about; a client that was away for longer reads the jobs instead
EVENTS_KEPT = 10_000
#: the same of a batch's own stream; and how often its tenant hears of a batch at most, ms
BATCH_EVENTS_KEPT, BATCH_TOLD_MS = 2_000, 1_000
#: the call that ends a job looks at jobs that wait for it: records, of them and of their parents, that it reads; a reap
#: looks at the rest
CHILDREN_AT_ONCE = 32
#: acts of a batch that are kept, and so many may be under way
ACTS_KEPT = 100
#: an idempotency key is remembered this long
IDEMPOTENCY_S = 24 * 3600
#: jobs dropped from a queue by one claim because their record says that they do not belong there
STALE_PER_CLAIM = 256
#: delayed retries that one claim may queue
PROMOTED_PER_CLAIM = 8
#: leases in a row that a job may lose uncounted because no heartbeat ever came: a job that kills its worker before
#: the first heartbeat must not be retried for ever
UNHEARD_MOST = 5
#: a worker says for how long it counts as live; at most this, s
PRESENT_MAX_S = 60.0
#: a delay is at most this many times lease.backoff_max_s (lib/verdict.lua spreads them)
_DELAY_SPREAD = 1.25

#: what a client does about a write of which only the durability is not known
_REPEAT = "it may have happened: send it again with the same Idempotency-Key"

#: of redis.socket_timeout_s, after which a call is given up: the part in which it may still run
_IN_TIME = 0.8

_WORDS: Mapping[str, type[StrEnum]] = {
    "State": State,
    "Phase": Phase,
    "Fault": FaultCode,
    "Verdict": Verdict,
    "Commit": CommitOutcome,
    "Fail": FailOutcome,
    "Cancel": CancelOutcome,
    "Hold": HoldOutcome,
    "HoldReason": HoldReason,
    "Tier": Tier,
    "Limit": Limit,
    "Operation": OperationOutcome,
    "Statement": StatementKind,
    "Purchase": PurchaseState,
    "News": PurchaseNews,
    "Batch": BatchState,
    "Act": ActKind,
    "ActState": ActState,
}
_WORD = re.compile(rf"\b({'|'.join([*_WORDS, 'Setting', 'Table', 'Text'])})\.([A-Z][A-Z0-9_]*)\b")
_CLOCK = "lib/clock.lua"
_USES = re.compile(r"^-- uses: (.+)$", re.MULTILINE)
_SELDOM = re.compile(r"^-- seldom: (.+)$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)


def lua_settings(settings: Settings) -> dict[str, int | float | str]:
    """`Setting.*`: numbers in the unit of their names."""
    lease, scheduling = settings.lease, settings.scheduling
    return {
        "INTAKE_POOL": INTAKE_POOL,
        "BURST_POOL": BURST_POOL,
        "LEASE_MS": int(lease.seconds * 1000),
        # a reaper that was silent for longer was away together with Redis or the whole farm
        "REAP_GAP_MS": int(max(lease.seconds / 2, 3 * scheduling.reap_every_s) * 1000),
        "POISON_LOSSES": lease.poison_losses,
        "BACKOFF_MS": int(lease.backoff_s * 1000),
        "BACKOFF_MAX_MS": int(lease.backoff_max_s * 1000),
        "DELAY_MAX_MS": int(lease.backoff_max_s * _DELAY_SPREAD * 1000),
        "UNHEARD_MOST": UNHEARD_MOST,
        "PRESENT_MAX_MS": int(max(PRESENT_MAX_S, lease.seconds) * 1000),
        "MAX_OPEN": scheduling.max_open,
        "MAX_STORED": settings.storage.max_bytes_per_tenant,
        "AFFINITY_WINDOW": max(1, scheduling.affinity_window),
        "AFFINITY_PASSES": scheduling.affinity_passes,
        "HEADROOMS": " ".join(f"{name}={pool.headroom}" for name, pool in settings.pools.items() if pool.headroom),
        "AFFINITY_SLACK_S": scheduling.affinity_slack_s,
        "ECONOMY_RISE_MS": int(scheduling.economy_rise_s * 1000),
        "ELSEWHERE_MS": int(scheduling.elsewhere_s * 1000),
        "PERMIT_TTL_MS": int(scheduling.permit_ttl_s * 1000),
        "EVENTS_KEPT": EVENTS_KEPT,
        "ASKED_KEPT_S": int(scheduling.retention_s),
        "BATCH_EVENTS_KEPT": BATCH_EVENTS_KEPT,
        "BATCH_TOLD_MS": BATCH_TOLD_MS,
        "CHILDREN_AT_ONCE": CHILDREN_AT_ONCE,
        "ACTS_KEPT": ACTS_KEPT,
        "IDEMPOTENCY_S": IDEMPOTENCY_S,
        "STALE_PER_CLAIM": STALE_PER_CLAIM,
        "PROMOTED_PER_CLAIM": PROMOTED_PER_CLAIM,
        "CLAIM_MEMORY_MS": int(2000 * settings.redis.socket_timeout_s) + 10_000,
    }


_TABLES: Mapping[str, Iterable[str]] = {
    "RETRYABLE": sorted(RETRYABLE),
    "KILLS_WORKER": sorted(KILLS_WORKER),
    "TERMINAL": sorted(TERMINAL),
    "HOLDS_INTAKE": sorted(HOLDS_INTAKE),
    "PROVIDER_PHASES": sorted(PROVIDER_PHASES),
    "TRANSITIONS": [f"{source}>{target}" for source, targets in TRANSITIONS.items() for target in sorted(targets)],
}


@lru_cache(maxsize=256)
def source(
    name: str, prefix: str, constants: tuple[tuple[str, int | float | str], ...], clock: str | None = None
) -> str:
    """The text of script `name` as it is sent to Redis. `clock`: a Lua text that defines NOW (ms since the epoch), in
    place of lib/clock.lua."""
    texts = _with_libraries(name, clock)
    *libraries, script = (_COMMENT.sub("", text) for text in texts)
    seldom = {function for text in texts for line in _SELDOM.findall(text) for function in line.split()}
    body = "\n".join(nested(without_unused(libraries, script), seldom))
    numbers = dict(constants)

    def word(match: re.Match[str]) -> str:
        kind, member = match.groups()
        if kind == "Setting":
            value = numbers[member]
            return f"'{value}'" if isinstance(value, str) else repr(value)
        if kind == "Text":
            return f"' {' '.join(_TABLES[member])} '"
        if kind == "Table":
            return "{" + ", ".join(f"['{item}'] = true" for item in _TABLES[member]) + "}"
        return f"'{_WORDS[kind][member]}'"

    return Keys(prefix).filled_in(_WORD.sub(word, body))


def _with_libraries(name: str, clock: str | None = None) -> list[str]:
    """The texts of the script and, before it, of what it uses, each once."""
    folder = resources.files("farm.ledger") / "lua"
    done: dict[str, str] = {}

    def add(path: str) -> None:
        if path not in done:
            text = folder.joinpath(*path.split("/")).read_text(encoding="utf-8")
            if clock is not None and path == _CLOCK:
                text = clock
            for line in _USES.findall(text):
                for library in line.split():
                    add(f"lib/{library}.lua")
            done[path] = text

    add(f"{name}.lua")
    return list(done.values())


def tier_line(pool: str, tier: Tier) -> str:
    """The name of a tier's line in a pool, as lua/lib/tier.lua makes it."""
    return pool if tier is Tier.NORMAL else f"{pool}!{tier}"


def pool_of_line(line: str) -> str:
    """The pool of a tier's line."""
    return line.partition("!")[0]


class Scripted:
    """The base of every part of the Ledger: a client, the keys, and `run`."""

    def __init__(self, redis: Redis, settings: Settings, *, clock: str | None = None) -> None:
        """`redis` decodes responses (farm.ledger.connection.connect). `clock`: for a simulation, as in `source`."""
        self._redis = redis
        self._clock = clock
        self._server_clock = ServerClock(lambda: int(self.run("now")))
        self._settings = settings
        self._keys = Keys(settings.redis.prefix)
        self._constants = tuple(lua_settings(settings).items())
        self._scripts: dict[str, Script] = {}
        self._waitaof: bool | None = None if settings.redis.waitaof else False

    def run(self, name: str, *args: str | int | float, durable: bool = False) -> Any:
        """Run lua/<name>.lua. `durable`: return only when the append-only file has it, where the server can tell."""
        script = self._script(name)
        with mapped():
            try:
                if durable and (self._can_wait() or self._settings.redis.waitaof_replicas):
                    return self._run_and_wait(script, args)
                return script(args=args)
            except ResponseError as error:
                # Redis 6 has the reason in the text of the script's error
                if isinstance(error, ReadOnlyError) or "READONLY" in str(error):
                    # a primary no more: the next connection is made to whoever its name stands for by then
                    self._redis.connection_pool.disconnect()
                raise

    def _script(self, name: str) -> Script:
        script = self._scripts.get(name)
        if script is None:
            text = source(name, self._keys.prefix, self._constants, self._clock)
            script = self._scripts[name] = self._redis.register_script(text)
        return script

    @property
    def _in_time_s(self) -> float:
        return _IN_TIME * self._settings.redis.socket_timeout_s

    def run_in_time(self, name: str, *args: str | int | float, patience_s: float, durable: bool = False) -> Any:
        """Run a script that must not run once its caller has given it up, in patience_s: the server refuses it then, in
        whatever buffer it was held. Raises Unavailable where it is refused: nothing was done."""
        # the first time, its text is made; no caller waits for the server meanwhile
        self._script(name)
        end = time.monotonic() + patience_s
        while True:
            deadline_ms = self._server_clock.in_ms(end - time.monotonic())
            answer = self.run(name, *args, deadline_ms, durable=durable)
            if not (isinstance(answer, list) and answer[0] == "late"):
                return answer
            # or else the server's clock is not what it was
            self._server_clock.learn(int(answer[1]))
            if time.monotonic() >= end:
                raise Unavailable("the ledger was reached too late, and nothing was done; send it again")

    def _can_wait(self) -> bool:
        """Whether the server has WAITAOF (Redis 7.2) and an append-only file that it syncs. Asked until it is fit."""
        if self._waitaof is None:
            server = look(self._redis)
            if (why := server.refusal(waitaof=True)) is not None:
                raise Unavailable(why)
            self._waitaof = server.waits
        return self._waitaof

    def _run_and_wait(self, script: Script, args: tuple[str | int | float, ...]) -> Any:
        replicas, timeout_ms = self._settings.redis.waitaof_replicas, int(self._settings.redis.socket_timeout_s * 500)
        # before Redis 7.2 there is no WAITAOF: replicas have it, in memory
        question: Command = ("WAITAOF", 1, replicas, timeout_ms) if self._waitaof else ("WAIT", replicas, timeout_ms)
        answer, kept = run_and_ask(self._redis, script, args, question, self._keys("sent_again"))
        here, elsewhere = kept if self._waitaof else (1, kept)
        if not here:
            raise Unavailable(f"the ledger's append-only file did not get the write in time; {_REPEAT}")
        if elsewhere < replicas:
            raise Unavailable(f"{elsewhere} of {replicas} replicas of the ledger got the write in time; {_REPEAT}")
        return answer
