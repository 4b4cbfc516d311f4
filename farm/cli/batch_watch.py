"""One bar for a whole batch, until it is over; then a summary of what failed."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from farm.cli.bars import PAUSED_BY_OPERATOR
from farm.cli.exit_codes import INTERRUPTED
from farm.cli.output import clean
from farm.cli.session import Session
from farm.jobs.errors import FaultCode, Unavailable
from farm.jobs.states import TERMINAL, HoldReason, State

if TYPE_CHECKING:
    from farm.client import Client
    from farm.wire.own_batches import BatchView
    from farm.wire.own_views import JobView

_LOOK_S = 1.0
#: columns that the words beside a bar want, and those that name and bar have at least
_WORDS_WIDE, _NAME, _BAR = 54, 8, 8
#: failures that a summary tells, and cancelled jobs that it looks at for such as expired
_TOLD, _LOOKED = 20, 200
#: why jobs do not start, as people say it; beside a bar only what somebody has to do something about
_HELD = {
    HoldReason.PAUSED: "paused",
    HoldReason.APPROVAL: "to be approved",
    HoldReason.DEPENDENCY: "behind others",
    HoldReason.PARKED: "parked",
}
_TOLD_REASONS = frozenset({HoldReason.PAUSED, HoldReason.APPROVAL})


def words(batch: "BatchView") -> str:
    """How many of its jobs are where, and what holds them."""
    parts = [f"{batch.counts[state]} {state}" for state in State if batch.counts.get(state)]
    return f"{', '.join(parts) or 'no jobs'}{_held(batch)}"


def _held(batch: "BatchView") -> str:
    held = [f"{count} {_HELD[reason]}" for reason, count in batch.held_for.items() if count]
    said = ", ".join([*held, *_by_operator(batch)])
    return f" ({said})" if said else ""


def _by_operator(batch: "BatchView") -> list[str]:
    return [PAUSED_BY_OPERATOR] if batch.operator_pauses else []


def short_words(batch: "BatchView") -> str:
    """What fits beside a bar: how many are over, what is wrong, what goes on, when it may end."""
    counts = batch.counts
    shown = (State.FAILED, State.CANCELLED, State.RUNNING)
    parts = [f"{counts.get(State.SUCCEEDED, 0):,}/{batch.jobs:,} done"]
    parts += [f"{counts[state]:,} {state}" for state in shown if counts.get(state)]
    parts += [f"{count:,} {_HELD[reason]}" for reason, count in batch.held_for.items() if reason in _TOLD_REASONS]
    parts += _by_operator(batch)
    return ", ".join(parts) + _finish(batch)


def title(batch: "BatchView") -> str:
    """A batch's name, or its id."""
    return clean(batch.name or batch.id)


def watch(session: Session, client: "Client", batch_id: str, *, timeout_s: float | None = None) -> int:
    """Show progress until the batch is over, then what failed. The exit code says whether everything succeeded."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    asked = False
    try:
        with _bar(session) as show:
            while True:
                batch = _looked_at(session, client, batch_id, end)
                show(batch)
                if batch.over:
                    break
                if not asked and (held := _to_approve(batch)):
                    asked = True
                    session.out.say(
                        f"{held} job{'s are' if held != 1 else ' is'} held: wanfarm batches approve {batch_id}"
                    )
                if end is not None and time.monotonic() > end:
                    raise TimeoutError
                time.sleep(_LOOK_S)
    except TimeoutError:
        raise click.ClickException(
            f"not over after {timeout_s:g} s; it goes on: wanfarm batches watch {batch_id}"
        ) from None
    except KeyboardInterrupt:
        session.out.say(f"no longer watching; the batch goes on (wanfarm batches watch {batch_id})")
        raise click.exceptions.Exit(INTERRUPTED) from None
    return summary(session, client, batch)


def _looked_at(session: Session, client: "Client", batch_id: str, end: float | None) -> "BatchView":
    """The batch as it is now. A farm restarts within moments: its silence is said once, and waited for, no longer than
    to `end`: then TimeoutError."""
    said = ""
    while True:
        try:
            return client.batches.get(batch_id)
        except Unavailable as error:
            if str(error) != said:
                said = str(error)
                session.out.say(f"trying again: {said}")
            if end is not None and time.monotonic() > end:
                raise TimeoutError from None
            time.sleep(_LOOK_S)


def _to_approve(batch: "BatchView") -> int:
    """How many jobs somebody has to approve, where all others are over."""
    held = batch.held_for.get(HoldReason.APPROVAL, 0)
    return held if held and held == batch.jobs - sum(batch.counts.get(state, 0) for state in TERMINAL) else 0


def summary(session: Session, client: "Client", batch: "BatchView") -> int:
    """What became of it."""
    failed = batch.counts.get(State.FAILED, 0)
    if session.out.as_json:
        session.out.document(batch)
    else:
        session.out.line(f"{batch.id}  {words(batch)}")
        if failed:
            _tell_failures(session, client, batch, failed)
        if batch.counts.get(State.CANCELLED):
            _tell_expired(session, client, batch)
        if batch.counts.get(State.SUCCEEDED):
            session.out.say(f"fetch it: wanfarm batches download {batch.id} {batch.id}.zip")
    return 0 if batch.counts.get(State.SUCCEEDED) == batch.jobs else 1


def _tell_failures(session: Session, client: "Client", batch: "BatchView", failed: int) -> None:
    for job in islice(client.batches.jobs(batch.id, state=State.FAILED), _TOLD):
        _tell(session, job)
    if failed > _TOLD:
        session.out.line(f"  and {failed - _TOLD} more: wanfarm batches jobs {batch.id} --state failed")
    session.out.say(f"make them anew: wanfarm batches retry {batch.id}")


def _tell_expired(session: Session, client: "Client", batch: "BatchView") -> None:
    """Of its cancelled jobs those that nobody cancelled."""
    found = client.batches.jobs(batch.id, state=State.CANCELLED)
    expired = [job for job in islice(found, _LOOKED) if job.error and job.error.code == FaultCode.EXPIRED]
    for job in expired[:_TOLD]:
        _tell(session, job)
    if len(expired) > _TOLD:
        session.out.line(f"  and more: wanfarm batches jobs {batch.id} --state cancelled")


def _tell(session: Session, job: "JobView") -> None:
    code, message = (job.error.code, job.error.message) if job.error else ("unknown", "")
    where = f"line {job.shot.get('line', '?')}" + (f", take {job.shot['take']}" if "take" in job.shot else "")
    session.out.line(f"  {where}: {code}: {clean(message)}")


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
    from rich.progress import Progress

    console = session.out.console(sys.stderr)
    with Progress(*columns(console.width), console=console) as progress:
        task = progress.add_task("", total=1.0, words="")
        yield lambda batch: progress.update(
            task, completed=batch.progress, description=title(batch), words=short_words(batch)
        )


def columns(width: int) -> tuple[Any, ...]:
    """Of a bar: on a narrow terminal the words stay; name and bar shrink."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.table import Column

    room = width - _WORDS_WIDE - len(" 100%   ")
    name, bar = max(_NAME, min(32, room // 2)), max(_BAR, min(40, room - room // 2))
    return (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=name)),
        BarColumn(bar_width=bar),
        TaskProgressColumn(),
        TextColumn("{task.fields[words]}", markup=False, table_column=Column(no_wrap=True)),
    )


def _finish(batch: "BatchView") -> str:
    if batch.finish_at is None or batch.over:
        return ""
    at, now = batch.finish_at.astimezone(), datetime.now().astimezone()
    return f", until about {at:%H:%M}" if at.date() == now.date() else f", until {at:%a %H:%M}"
