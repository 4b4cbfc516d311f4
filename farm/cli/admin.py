"""`wanfarm admin`: the operator's hands. Over HTTP, with an operator's key."""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from farm.cli.session import Session, asks_the_farm

if TYPE_CHECKING:
    from farm.client.admin import Admin

_why = click.option("--why", required=True, help="Kept in the log of what operators did.")
_kind = click.argument("kind", type=click.Choice(["tenant", "lane", "pool", "worker", "provider"]))
_limit = click.option(
    "--limit", "-n", type=click.IntRange(min=1), default=25, show_default=True, help="How many at most."
)


@click.group()
def admin() -> None:
    """Pause, lock, move, requeue, and the log of what operators did. Needs an operator's key."""


def _act(session: Session, done: str, act: "Callable[[Admin], bool]") -> None:
    with session.client(admin=True) as client:
        changed = act(client.admin)
    if session.out.as_json:
        session.out.document({"changed": changed})
    else:
        session.out.say(done if changed else "it was so already")


@admin.command()
@_kind
@click.argument("name")
@_why
@asks_the_farm
def pause(session: Session, kind: Any, name: str, why: str) -> None:
    """Let nothing of a tenant, lane, pool, worker or provider start. What runs goes on. The NAME of a model stands for
    all its lanes."""
    _act(session, f"{kind} {name} is paused", lambda hands: hands.pause(kind, name, why=why))


@admin.command()
@_kind
@click.argument("name")
@_why
@asks_the_farm
def resume(session: Session, kind: Any, name: str, why: str) -> None:
    """End a pause, or the lock of a worker."""
    _act(session, f"{kind} {name} goes on", lambda hands: hands.resume(kind, name, why=why))


@admin.command()
@asks_the_farm
def paused(session: Session) -> None:
    """List what is paused now."""
    with session.client(admin=True) as client:
        found = client.admin.pauses()
    if session.out.as_json:
        session.out.document(found)
        return
    session.out.table(
        ["what", "name", "since"], [[one.kind, one.name, one.since] for one in found], empty="nothing is paused"
    )


@admin.command()
@click.argument("job_id", metavar="JOB")
@click.option("--off", is_flag=True, help="Normal again.")
@_why
@asks_the_farm
def urgent(session: Session, job_id: str, off: bool, why: str) -> None:
    """Let a job go before every other of its pool."""
    if off:
        _act(session, f"{job_id} is normal", lambda hands: hands.normal(job_id, why=why))
    else:
        _act(session, f"{job_id} is urgent", lambda hands: hands.urgent(job_id, why=why))


@admin.command()
@click.argument("job_id", metavar="JOB")
@_why
@asks_the_farm
def requeue(session: Session, job_id: str, why: str) -> None:
    """Queue a job now: take it from its worker, or end its backoff. The attempt does not count."""
    _act(session, f"{job_id} is queued", lambda hands: hands.requeue(job_id, why=why))


@admin.command()
@click.argument("worker")
@_why
@asks_the_farm
def lock(session: Session, worker: str, why: str) -> None:
    """Let a worker take no more jobs. What it renders goes on. `wanfarm admin resume worker NAME` ends the lock."""
    _act(session, f"worker {worker} takes no more jobs", lambda hands: hands.pause("worker", worker, why=why))


@admin.command()
@click.argument("worker")
@click.option("--timeout", type=click.FloatRange(min=0), default=3600.0, show_default=True, help="Seconds to wait.")
@_why
@asks_the_farm
def drain(session: Session, worker: str, timeout: float, why: str) -> None:
    """Lock a worker and wait until it renders nothing."""
    end = time.monotonic() + timeout
    with session.client(admin=True) as client:
        client.admin.pause("worker", worker, why=why)
        while any(one.job for one in client.workers() if one.worker == worker):
            if time.monotonic() > end:
                raise TimeoutError(f"{worker} still renders after {timeout:g} s; it is locked")
            time.sleep(1.0)
    if session.out.as_json:
        session.out.document({"drained": worker})
    else:
        session.out.say(f"worker {worker} renders nothing and takes no more jobs")


@admin.command()
@click.argument("job_id", metavar="JOB")
@click.argument("pool")
@_why
@asks_the_farm
def move(session: Session, job_id: str, pool: str, why: str) -> None:
    """Move a job that is not running to another pool."""
    _act(session, f"{job_id} waits in {pool}", lambda hands: hands.move(job_id, pool, why=why))


@admin.command()
@click.argument("job_id", metavar="JOB")
@_why
@asks_the_farm
def fail(session: Session, job_id: str, why: str) -> None:
    """End a job as failed, unbilled. Its owner reads --why."""
    _act(session, f"{job_id} has failed", lambda hands: hands.fail(job_id, why=why))


def _newest(
    session: Session,
    limit: int,
    ask: "Callable[[Admin], Iterable[Any]]",
    row: Callable[[Any], list[Any]],
    columns: Sequence[str],
    *,
    empty: str,
) -> None:
    with session.client(admin=True) as client:
        found = list(islice(ask(client.admin), limit))
    if session.out.as_json:
        session.out.document(found)
    else:
        session.out.table(columns, [row(one) for one in found], empty=empty)


@admin.command()
@_limit
@asks_the_farm
def log(session: Session, limit: int) -> None:
    """List what operators did, newest first."""
    columns = ("at", "who", "act", "target", "why", "before", "after")

    def row(one: Any) -> list[Any]:
        return [getattr(one, name) for name in columns]

    _newest(session, limit, lambda hands: hands.operations(), row, columns, empty="nothing was done")


@admin.command()
@_limit
@asks_the_farm
def decisions(session: Session, limit: int) -> None:
    """List why jobs were bought, or were not. The newest first."""
    columns = ("verdict", "why", "job", "provider", "tenant")

    def row(one: Any) -> list[Any]:
        return [one.at, *(getattr(one, name) or "" for name in columns)]

    empty = "no job waits for too long, or no burst process runs"
    _newest(session, limit, lambda hands: hands.decisions(), row, ("at", *columns), empty=empty)
