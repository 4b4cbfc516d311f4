"""The embedded Redis: append-only file on, never evicting."""

from pathlib import Path

from farm.embedded.binaries import redis_server


def command(folder: Path, port: int, *, fsync: str = "always") -> list[str]:
    """Arguments to start a Redis that keeps everything in `folder`. `fsync` always: an answered write is on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        str(redis_server()),
        *("--port", str(port), "--bind", "127.0.0.1", "--protected-mode", "yes"),
        *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", fsync, "--save", ""),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--databases", "16"),
    ]
