"""One bar for a whole batch, until it is over; then a summary of what failed."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from farm.cli.exit_codes import INTERRUPTED
from farm.cli.output import clean
from farm.cli.session import Session
from farm.jobs.states import State

if TYPE_CHECKING:
    from farm.client import Client
    from farm.wire.own_batches import BatchView

_LOOK_S = 1.0
#: failures that a summary tells
_TOLD = 20


def words(batch: "BatchView") -> str:
    """How many of its jobs are where."""
    parts = [f"{batch.counts[state]} {state}" for state in State if batch.counts.get(state)]
    return ", ".join(parts) or "no jobs"


def title(batch: "BatchView") -> str:
    """A batch's name, or its id."""
    return clean(batch.name or batch.id)


def watch(session: Session, client: "Client", batch_id: str, *, timeout_s: float | None = None) -> int:
    """Show progress until the batch is over, then what failed. The exit code says whether everything succeeded."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        with _bar(session) as show:
            while True:
                batch = client.batches.get(batch_id)
                show(batch)
                if batch.over:
                    break
                if end is not None and time.monotonic() > end:
                    raise click.ClickException(
                        f"not over after {timeout_s:g} s; it goes on: wanfarm batches watch {batch_id}"
                    )
                time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        session.out.say(f"no longer watching; the batch goes on (wanfarm batches watch {batch_id})")
        raise click.exceptions.Exit(INTERRUPTED) from None
    return summary(session, client, batch)


def summary(session: Session, client: "Client", batch: "BatchView") -> int:
    """What became of it."""
    failed = batch.counts.get(State.FAILED, 0)
    if session.out.as_json:
        session.out.document(batch)
    else:
        session.out.line(f"{batch.id}  {words(batch)}")
        if failed:
            _tell_failures(session, client, batch, failed)
        if batch.counts.get(State.SUCCEEDED):
            session.out.say(f"fetch it: wanfarm batches download {batch.id} {batch.id}.zip")
    return 0 if batch.counts.get(State.SUCCEEDED) == batch.jobs else 1


def _tell_failures(session: Session, client: "Client", batch: "BatchView", failed: int) -> None:
    codes: Counter[str] = Counter()
    for job in islice(client.batches.jobs(batch.id, state=State.FAILED), _TOLD):
        code = job.error.code if job.error else "unknown"
        codes[code] += 1
        where = f"line {job.shot.get('line', '?')}" + (f", take {job.shot['take']}" if "take" in job.shot else "")
        session.out.line(f"  {where}: {code}: {clean(job.error.message if job.error else '')}")
    if failed > _TOLD:
        session.out.line(f"  and {failed - _TOLD} more: wanfarm batches jobs {batch.id} --state failed")
    session.out.say(f"make them anew: wanfarm batches retry {batch.id}")


@contextmanager
def _bar(session: Session) -> Iterator[Any]:
    """What to call with the batch as it is now. Progress is not the result: it goes to standard error."""
    if session.out.as_json or not sys.stderr.isatty():
        said = [""]

        def line(batch: "BatchView") -> None:
            now = f"{batch.progress:.0%}  {words(batch)}"
            if now != said[0] and not session.out.as_json:
                said[0] = now
                print(f"{time.strftime('%H:%M:%S')}  {title(batch)}  {now}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=session.out.console(sys.stderr)) as progress:
        task = progress.add_task("", total=1.0, words="")
        yield lambda batch: progress.update(
            task, completed=batch.progress, description=title(batch), words=f"{words(batch)}{_finish(batch)}"
        )


def _finish(batch: "BatchView") -> str:
    if batch.finish_at is None or batch.over:
        return ""
    return f", over by {batch.finish_at.astimezone():%a %H:%M}"
