"""This machine: its disk, its limits, its clock, the key of tenants' secrets."""

import errno
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from farm.config import Settings
from farm.doctor.finding import Finding, error, ok, warning
from farm.ledger.connection import connect

#: of Redis' clock and ours, s: leases and retries follow Redis alone, dates in logs and signatures do not
_SKEW_S = 2.0
#: the state folder should hold so many times what must stay free
_ROOMY = 4
#: descriptors of a process besides a connection's: libraries, logs, sockets to Redis and the store
_DESCRIPTORS = 512
_HERE = frozenset({None, "localhost", "127.0.0.1", "::1"})


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check of this machine."""
    yield disk(settings.state_dir, settings.storage.min_free_bytes)
    yield descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[1], settings.gateway.max_connections)
    yield clock(settings)
    yield secrets(settings)


def disk(state_dir: Path, floor: int) -> Finding:
    """The state folder can be written, and has room."""
    nearest = next(folder for folder in (state_dir.absolute(), *state_dir.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as probe:
            probe.write(b"x" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as refused:
        full = refused.errno in (errno.ENOSPC, errno.EDQUOT)
        todo = "make room there" if full else "give state_dir a folder that this user may write"
        return error("machine.disk", f"{nearest} cannot be written: {refused.strerror}", todo)
    free = shutil.disk_usage(nearest).free
    text = f"{nearest}: {free / 1e9:.1f} GB free; storage.min_free_bytes keeps {floor / 1e9:.1f} GB of it"
    if free < floor:
        return error("machine.disk", text, "make room: nothing new is taken, and workers here are out of service")
    if free < _ROOMY * floor:
        return warning("machine.disk", text, "make room before it is needed")
    return ok("machine.disk", text)


def descriptors(hard_limit: int, connections: int) -> Finding:
    """A gateway process can hold its connections."""
    need = connections + _DESCRIPTORS
    text = f"a process may open {hard_limit} files; a gateway process needs {need}"
    if hard_limit != resource.RLIM_INFINITY and hard_limit < need:
        return warning(
            "machine.files", text, "raise the limit (ulimit -n, LimitNOFILE), or lower gateway.max_connections"
        )
    return ok("machine.files", text if hard_limit != resource.RLIM_INFINITY else "no limit on open files")


def clock(settings: Settings) -> Finding:
    """This machine's clock and that of Redis, which decides."""
    try:
        with connect(settings.redis) as redis:
            before = time.time()
            seconds, micros = redis.time()
            after = time.time()
    except (RedisError, OSError):
        return warning("machine.clock", "Redis does not tell its time", "see redis.reach")
    skew_s = seconds + micros / 1e6 - (before + after) / 2
    here = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    text = f"{here}, Redis' clock is {abs(skew_s):.1f} s {'ahead' if skew_s > 0 else 'behind'}"
    if abs(skew_s) > max(_SKEW_S, after - before):
        return warning("machine.clock", text, "run an NTP service here and on Redis' machine")
    return ok("machine.clock", text)


def secrets(settings: Settings) -> Finding:
    """Every machine of a farm opens the tenants' secrets with one key."""
    path = settings.state_dir / "secrets.key"
    if settings.secrets.key is not None:
        return ok("machine.secrets", "secrets.key is set")
    if urlsplit(settings.redis.ledger_url).hostname in _HERE:
        return ok("machine.secrets", f"the key is {path}; it belongs into the backup")
    return warning(
        "machine.secrets",
        f"Redis is on another machine, and the key of tenants' secrets would be this machine's own ({path})",
        "set secrets.key, the same on every machine (WANFARM_SECRETS__KEY)",
    )
