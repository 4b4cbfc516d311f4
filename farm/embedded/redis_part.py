"""The embedded Redis or Valkey: append-only file on, never evicting, closed to other users of the machine."""

import hashlib
import os
from pathlib import Path

from farm.embedded.binaries import better_allocator, redis_server

#: what the farm's own password does not open either: loading modules, changing the configuration, debugging, following
#: another server, other users. What only looks stays, for processes (what does the server promise?) and for operators
_FARM_MAY = "~* &* +@all -@admin +config|get +monitor +slowlog +latency"
_ANYBODY_MAY = "~* &* +@all"


def command(
    folder: Path,
    port: int,
    *,
    password: str | None,
    fsync: str = "always",
    server: Path | None = None,
    max_memory_mb: int | None = None,
) -> list[str]:
    """Arguments to start a server on the loopback `port` that keeps everything in `folder`, where its configuration
    (0600) is written, too.

    password  of the only user; None opens the server to every local user with all commands, which is for tests and
              benches alone
    fsync     "always", or "everysec": with that Valkey 9.1.2 answers WAITAOF up to a second before the write is on disk
    server    the program; by default the one that `redis_server` finds
    max_memory_mb  above it nothing new is written, and the operating system kills nobody; None: no limit
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        "protected-mode yes",
        "daemonize no",
        "databases 16",
        f"dir {_quoted(str(folder))}",
        "appendonly yes",
        f"appendfsync {fsync}",
        'save ""',
        "maxmemory-policy noeviction",
        "enable-module-command no",
        "enable-debug-command no",
        "enable-protected-configs no",
    ]
    if max_memory_mb is not None:
        lines.append(f"maxmemory {max_memory_mb}mb")
    if password is None:
        lines.append(f"user default on nopass {_ANYBODY_MAY}")
    else:
        # the hash suffices, and `ps` shows the name of this file only
        lines.append(f"user default on #{hashlib.sha256(password.encode()).hexdigest()} {_FARM_MAY}")
    path = folder / "server.conf"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write("\n".join(["# Written by `wanfarm up` at every start; changes made here are lost.", *lines, ""]))
    return [str(server or redis_server()), str(path)]


def environment(server: Path | None = None) -> dict[str, str]:
    """What the server's environment has besides: jemalloc, if the machine has it and this server (None: as in
    `command`) does without. A claim then takes Redis a third less time (bench/README.md)."""
    library = better_allocator(server or redis_server())
    before = os.environ.get("LD_PRELOAD")
    return {"LD_PRELOAD": f"{library}:{before}" if before else library} if library else {}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
