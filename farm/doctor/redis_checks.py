"""The ledger's Redis and the broker's: who it is, what it keeps, how fast it answers."""

import statistics
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from farm.config import RedisSettings
from farm.doctor.finding import Finding, error, ok, warning
from farm.jobs.errors import Unavailable
from farm.ledger.connection import connect
from farm.ledger.server import Server, look

#: scripts need it
_OLDEST = (6, 2)
#: median of a PING, ms: every claim and heartbeat costs at least one such way
_SLOW_MS, _TOO_SLOW_MS = 5.0, 100.0
#: a job is answered only after this, ms
_SLOW_SYNC_MS = 100.0
_SYNC_LIMIT_MS = 2500
_PINGS = 20
#: share of maxmemory
_NEARLY_FULL = 0.9
#: what every script of the ledger does: the server's time, and a write
_SCRIPT = "redis.call('TIME') redis.call('SET', KEYS[1], '1', 'PX', 1000) return redis.call('DEL', KEYS[1])"


def examine(settings: RedisSettings) -> Iterator[Finding]:
    """Every check of Redis; only the first when it does not answer."""
    with connect(settings) as redis:
        reached = reachable(redis, settings)
        yield reached
        if reached.todo is not None:
            return
        try:
            server = look(redis)
        except Unavailable as refused:
            yield error("redis.role", str(refused), "name the primary in redis.ledger_url, or its Sentinels")
            return
        yield version(server)
        yield persistence(server, waitaof=settings.waitaof)
        yield eviction(server)
        yield memory(redis)
        yield disk(redis)
        yield latency(redis)
        writes = scripts(redis, settings.prefix)
        yield writes
        if settings.waitaof_replicas or settings.sentinels:
            yield replicas(redis, settings.waitaof_replicas)
        if writes.todo is None and settings.waitaof and server.waits and server.fsync != "no":
            yield sync(redis, settings.prefix, settings.waitaof_replicas)
    yield broker(settings)
    yield password(settings)


def reachable(redis: Redis, settings: RedisSettings) -> Finding:
    """It answers, and takes our password."""
    where = _where(settings)
    try:
        redis.ping()
    except (AuthenticationError, NoPermissionError) as refused:
        return error("redis.reach", f"{where} refuses us: {refused}", "put user and password into redis.ledger_url")
    except (RedisError, OSError) as away:
        return error(
            "redis.reach",
            f"{where} does not answer ({away})",
            "start Redis or Valkey there, or correct redis.ledger_url; look at firewalls in between",
        )
    return ok("redis.reach", f"{where} answers")


def version(server: Server) -> Finding:
    """New enough for the scripts; with WAITAOF at best."""
    numbers = tuple(int(part) for part in server.version.split(".")[:2] if part.isdigit())
    if server.name == "Redis" and numbers < _OLDEST:
        return error("redis.version", f"{server} is too old", "use Redis 6.2 or later, or Valkey")
    if not server.waits:
        return warning(
            "redis.version",
            f"{server} has no WAITAOF, so no answer waits for the disk",
            "use Redis 7.2 or later or Valkey with appendonly yes, or accept what redis.persistence says",
        )
    return ok("redis.version", str(server))


def persistence(server: Server, *, waitaof: bool) -> Finding:
    """What an acknowledged job survives."""
    if (why := server.refusal(waitaof=waitaof)) is not None:
        return error("redis.persistence", why, "set `appendfsync always`: no process of the farm starts before")
    meaning = server.meaning(waitaof=waitaof)
    if server.appendonly is False:
        return error("redis.persistence", meaning, "set `appendonly yes` and `appendfsync always`")
    if server.keeps(waitaof=waitaof):
        return ok("redis.persistence", meaning)
    return warning("redis.persistence", meaning, "set `appendfsync always`")


def eviction(server: Server) -> Finding:
    """A full server refuses, and drops nothing."""
    if server.eviction is None:
        return warning(
            "redis.eviction",
            "the server does not tell its maxmemory-policy",
            "make sure that it is noeviction, or allow this user CONFIG GET",
        )
    if server.eviction != "noeviction":
        return error(
            "redis.eviction",
            f"maxmemory-policy is {server.eviction}: a full server would drop jobs",
            "set `maxmemory-policy noeviction`",
        )
    return ok("redis.eviction", "noeviction")


def memory(redis: Redis) -> Finding:
    """How full it is."""
    told = redis.info("memory")
    used, most = int(told["used_memory"]), int(told.get("maxmemory", 0))
    text = f"{used / 1e6:.0f} MB used" + (f" of {most / 1e6:.0f} MB" if most else "")
    if most and used > _NEARLY_FULL * most:
        return warning("redis.memory", text, "raise maxmemory: a full server refuses new jobs with 503")
    if not most:
        return warning(
            "redis.memory",
            f"{text}, no maxmemory: a flood of jobs is ended by the operating system, which kills Redis",
            "set `maxmemory` to about two thirds of the machine's memory",
        )
    return ok("redis.memory", text)


def disk(redis: Redis) -> Finding:
    """Its last writes to disk went well."""
    told = redis.info("persistence")
    failed = [name for name in ("aof_last_write_status", "aof_last_bgrewrite_status") if told.get(name, "ok") != "ok"]
    if failed:
        return error(
            "redis.disk", f"its last write to disk failed ({', '.join(failed)})", "look at its disk and its log"
        )
    return ok("redis.disk", "its last write to disk went well")


def scripts(redis: Redis, prefix: str) -> Finding:
    """Our user may run scripts that write under our prefix."""
    try:
        redis.eval(_SCRIPT, 1, f"{prefix}:doctor")
    except (NoPermissionError, ResponseError) as refused:
        return error(
            "redis.scripts",
            f"a script that writes is refused: {refused}",
            f"allow the user `~{prefix}:* &* +@all -@admin +config|get`, on a primary that takes writes",
        )
    return ok("redis.scripts", "scripts run and write")


def latency(redis: Redis) -> Finding:
    """The median of some PINGs."""
    times = []
    for _ in range(_PINGS):
        began = time.perf_counter()
        redis.ping()
        times.append((time.perf_counter() - began) * 1000)
    median = statistics.median(times)
    text = f"a PING takes {median:.2f} ms (median of {_PINGS}; the slowest {max(times):.2f})"
    if median > _TOO_SLOW_MS:
        return error("redis.latency", text, "bring Redis into the same network: every call of the farm pays this")
    if median > _SLOW_MS:
        return warning("redis.latency", text, "bring Redis nearer, or look at its load")
    return ok("redis.latency", text)


def sync(redis: Redis, prefix: str, others: int = 0) -> Finding:
    """How long WAITAOF lets an answer wait."""
    began = time.perf_counter()
    redis.set(f"{prefix}:doctor", "1", px=1000)
    redis.delete(f"{prefix}:doctor")
    local, elsewhere = redis.execute_command("WAITAOF", 1, others, _SYNC_LIMIT_MS)
    took_ms = (time.perf_counter() - began) * 1000
    if not local or elsewhere < others:
        where = "its disk" if not local else f"the disks of {others} replicas"
        return error(
            "redis.waitaof",
            f"a write was not on {where} after {_SYNC_LIMIT_MS} ms: submissions would be answered with 503",
            "look at its disk, and at who else writes there",
        )
    text = f"a write is on its disk after {took_ms:.1f} ms"
    if took_ms > _SLOW_SYNC_MS:
        return warning("redis.waitaof", text, "every submission waits so long: give Redis a faster disk")
    return ok("redis.waitaof", text)


def broker(settings: RedisSettings) -> Finding:
    """It answers, and is a database of its own."""
    service = settings.broker_service or settings.service
    if (settings.broker_url, service) == (settings.ledger_url, settings.service):
        return error(
            "redis.broker",
            "ledger and broker share one database",
            "give redis.broker_url another number at its end: redis://host:6379/1",
        )
    there = settings.model_copy(update={"ledger_url": settings.broker_url, "service": service})
    try:
        with connect(there) as redis:
            redis.ping()
    except (RedisError, OSError, ValueError) as away:
        return error("redis.broker", f"{_where(there)}: {away}", "correct redis.broker_url")
    return ok("redis.broker", f"{_where(there)} answers")


def replicas(redis: Redis, wanted: int) -> Finding:
    """As many replicas follow as an answer waits for, and it waits for one where there may be a failover."""
    if not wanted:
        return warning(
            "redis.replicas",
            "no answer waits for a replica: a failover may lose acknowledged jobs and order purchases twice",
            "set redis.waitaof_replicas = 1 (docs/operations.md, A Redis that fails over)",
        )
    follow = int(redis.info("replication").get("connected_slaves", 0))
    text = f"{follow} replicas follow; an answer waits for {wanted} (redis.waitaof_replicas)"
    if follow < wanted:
        return error("redis.replicas", text, "start replicas with an append-only file: until then submissions are 503")
    if follow == wanted:
        return warning("redis.replicas", text, "one more: a replica that restarts stops every submission")
    return ok("redis.replicas", text)


def password(settings: RedisSettings) -> Finding:
    """A server that others reach wants a password."""
    url = urlsplit(settings.ledger_url)
    if url.password is None and url.hostname not in (None, "localhost", "127.0.0.1", "::1"):
        return warning(
            "redis.password",
            "whoever reaches the server reads every job and key: its address has no password",
            "set one (requirepass, or a user), and put it into redis.ledger_url and redis.broker_url",
        )
    return ok("redis.password", "a password is used" if url.password else "only this machine reaches it")


def _where(settings: RedisSettings) -> str:
    """The address, without user and password."""
    if settings.sentinels:
        return f"{settings.service} (by the Sentinels {', '.join(settings.sentinels)})"
    return settings.ledger_url.rpartition("@")[2].removeprefix("redis://").removeprefix("rediss://")
