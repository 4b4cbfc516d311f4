"""How a measurement prints: one row a thing measured, its comparison beside it, the machine and the server."""

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

from redis import Redis
from rich.console import Console
from rich.table import Table

from farm.ledger.server import look


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def checked_server(redis: Redis, *, fsync: str) -> str:
    """The server's name and how it keeps writes, for a table's title.

    Raises RuntimeError when it is not what the table is about: `fsync` is its appendfsync; WAITAOF and an append-only
    file are always expected.
    """
    server = look(redis)
    if (server.appendonly, server.fsync, server.waits) != (True, fsync, True):
        raise RuntimeError(f"measured on another server than the table's (appendfsync {fsync}, WAITAOF): {server!r}")
    return f"{server}, appendfsync {fsync}, {_allocator(redis)}"


def _allocator(redis: Redis) -> str:
    """Of a server on this machine, also where it was given one that it was not built with."""
    loaded = Path("/proc", str(redis.info("server")["process_id"]), "maps")
    if loaded.exists() and "jemalloc" in loaded.read_text():
        return "jemalloc"
    return str(redis.info("memory")["mem_allocator"])


def p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str = "", *, server: str) -> None:
    """Print a table. `server`: as `checked_server` tells it."""
    table = Table(
        title=f"{title}  ({machine()}; {server})", caption=note or None, title_justify="left", caption_justify="left"
    )
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*(f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=120).print(table)
