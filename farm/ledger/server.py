"""The server that the ledger runs on, and how durable an answer from it is."""

import logging
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import ResponseError

from farm.config import RedisSettings
from farm.jobs.errors import FarmError, Unavailable
from farm.ledger.connection import mapped

log = logging.getLogger(__name__)


class UnsafeServer(FarmError):
    """A server that cannot keep what the settings promise. The text says what to change."""


@dataclass(frozen=True)
class Server:
    """What a server reports. None: it does not say (CONFIG GET is refused).

    waits       it has WAITAOF and an append-only file
    appendonly  it keeps an append-only file
    fsync       "always", "everysec" or "no"
    eviction    maxmemory-policy
    """

    name: str
    version: str
    waits: bool
    appendonly: bool | None = None
    fsync: str | None = None
    eviction: str | None = None

    def refusal(self, *, waitaof: bool) -> str | None:
        """Why the farm must not write there with `redis.waitaof` set so; None when it may."""
        if waitaof and self.waits and self.fsync == "no":
            return (
                f"{self} never syncs its append-only file (appendfsync no), so every answer would wait for WAITAOF in "
                "vain and end in 503. Set `appendfsync always` in its configuration (at once: CONFIG SET appendfsync "
                "always), or redis.waitaof = false to answer before a write is on disk"
            )
        return None

    def keeps(self, *, waitaof: bool) -> bool:
        """Whether what was answered survives a crash of its machine, as far as the server tells."""
        return self.appendonly is not False and (
            self.fsync == "always" or (waitaof and self.waits and self.fsync is None)
        )

    def meaning(self, *, waitaof: bool) -> str:
        """In words, for the log: what an acknowledged write survives."""
        if self.appendonly is False:
            return "it keeps nothing on disk: a restart of it loses every job. Set `appendonly yes`"
        if self.keeps(waitaof=waitaof):
            return "an answer is given when its write is on disk"
        if waitaof and self.waits:
            return (
                "an answer is given when the server says that its write is on disk, which some servers say up to a "
                "second early (Valkey 9.1.2 with appendfsync everysec): a crash of its machine may lose that second"
            )
        without = "it has no WAITAOF" if waitaof else "redis.waitaof is off"
        if self.fsync == "everysec":
            return f"{without}: a crash of its machine may lose the last second of what was answered"
        if self.fsync == "no":
            return f"{without} and it never syncs: a crash of its machine may lose half a minute of what was answered"
        return f"{without} and it does not tell its appendfsync, which decides what a crash of its machine loses"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def look(redis: Redis) -> Server:
    """Ask the server. `redis` decodes responses. Raises Unavailable."""
    with mapped():
        told = redis.info("server")
        try:
            redis.execute_command("WAITAOF", 1, 0, 1)
            waits = True
        except ResponseError as error:
            if "replica" in str(error):
                # after a failover: it is not asked what another server keeps
                raise Unavailable("the ledger's server is a replica now, and cannot write") from error
            waits = False
        try:
            config = {
                **redis.config_get("append*"),
                **redis.config_get("maxmemory-policy"),
            }
        except ResponseError:
            config = {}
    valkey = "valkey_version" in told
    return Server(
        name="Valkey" if valkey else "Redis",
        version=str(told["valkey_version" if valkey else "redis_version"]),
        waits=waits,
        appendonly=config["appendonly"] == "yes" if "appendonly" in config else None,
        fsync=config.get("appendfsync"),
        eviction=config.get("maxmemory-policy"),
    )


def say(redis: Redis, settings: RedisSettings) -> None:
    """Log which server a starting process has found and what that means. One that is away is no error.

    Raises UnsafeServer for one that must not be used.
    """
    try:
        server = look(redis)
    except Unavailable as error:
        log.warning("the ledger's server is not there yet: %s", error)
        return
    if (why := server.refusal(waitaof=settings.waitaof)) is not None:
        raise UnsafeServer(why)
    meaning = server.meaning(waitaof=settings.waitaof)
    if settings.waitaof_replicas:
        meaning += f", and {settings.waitaof_replicas} replicas have it"
    log.log(logging.WARNING if server.appendonly is False else logging.INFO, "the ledger is on %s: %s", server, meaning)
    if server.eviction not in (None, "noeviction"):
        log.warning("%s drops keys when it is full (%s): set maxmemory-policy noeviction", server, server.eviction)
