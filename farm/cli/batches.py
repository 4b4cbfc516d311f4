"""`wanfarm batches`: many shots at once, looked at and acted on."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.cli.session import Session, asks_the_farm
from farm.jobs.batch import ActKind, acts_on
from farm.jobs.states import State

if TYPE_CHECKING:
    from farm.wire.own_batches import BatchActView

_STATES = click.Choice([str(state) for state in State])


#: why an act stopped before its end
_STOPPED = {
    "payment": "the credit is used up",
    "no_room": "the files take all the room that they may take",
    "unpriced": "the price of a job is not known",
    "too_many": "no more jobs may be open at once",
    "undone": "by a later act",
}


@click.group()
def batches() -> None:
    """Batches of shots, made by `wanfarm submit shots.csv`."""


@batches.command("list")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=25, show_default=True, help="How many at most.")
@asks_the_farm
def list_(session: Session, limit: int) -> None:
    """List your batches, newest first."""
    from farm.cli.batch_watch import words

    with session.client() as client:
        found = list(islice(client.batches.list(page=min(limit, 100)), limit))
    if session.out.as_json:
        session.out.document(found)
        return
    session.out.table(
        ["batch", "name", ">jobs", ">over", "state", "jobs by state"],
        [[one.id, one.name or "", one.jobs, f"{one.progress:.0%}", one.state, words(one)] for one in found],
        empty="no batches; wanfarm submit shots.csv",
    )


@batches.command()
@click.argument("batch_id", metavar="BATCH")
@asks_the_farm
def show(session: Session, batch_id: str) -> None:
    """Everything about one batch."""
    from farm.cli.batch_watch import words

    with session.client() as client:
        batch = client.batches.get(batch_id)
    if session.out.as_json:
        session.out.document(batch)
        return
    session.out.facts(
        {
            "batch": batch.id,
            "name": batch.name,
            "state": batch.state,
            "jobs": f"{batch.jobs}: {words(batch)}",
            "over": f"{batch.progress:.0%}",
            "credits": f"{batch.credits.total:g}: {batch.credits.held:g} held, {batch.credits.spent:g} spent",
            "GPU-seconds": f"{batch.gpu_s:g}, {batch.gpu_s_left:g} to go",
            "predicted end": batch.finish_at,
            "created": batch.created_at,
            "ended": batch.ended_at,
        }
    )
    if batch.acts:
        session.out.line()
        session.out.table(
            ["act", ">looked at", ">changed", "begun", "state"],
            [[act.kind, act.looked, act.changed, act.created_at, _act_state(act)] for act in batch.acts],
            empty="",
        )


def _act_state(act: "BatchActView") -> str:
    if not act.over:
        return "goes on"
    return f"stopped: {_STOPPED.get(act.error, act.error)}" if act.error else "done"


@batches.command()
@click.argument("batch_id", metavar="BATCH")
@click.option("--state", type=_STATES, help="Only these.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@asks_the_farm
def jobs(session: Session, batch_id: str, state: str | None, limit: int) -> None:
    """List a batch's jobs, in the order of the manifest. Jobs that a retry made come last."""
    with session.client() as client:
        found = list(islice(client.batches.jobs(batch_id, state=state), limit))
    if session.out.as_json:
        session.out.document(found)
        return
    from farm.cli.bars import shot, title, words

    session.out.table(
        ["job", "shot", "what", "state"],
        [[job.id, shot(job), title(job, 40), words(job)] for job in found],
        empty="no such jobs",
    )


@batches.command()
@click.argument("batch_id", metavar="BATCH")
@click.option(
    "--timeout", "timeout_s", type=float, metavar="SECONDS", help="Watch no longer than this; the batch goes on."
)
@asks_the_farm
def watch(session: Session, batch_id: str, timeout_s: float | None) -> int:
    """Show progress until the batch is over, then what failed."""
    from farm.cli.batch_watch import watch as follow

    with session.client() as client:
        return follow(session, client, batch_id, timeout_s=timeout_s)


@batches.command()
@click.argument("batch_id", metavar="BATCH")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@asks_the_farm
def download(session: Session, batch_id: str, file: Path) -> None:
    """Fetch all videos that are there by now, as one zip FILE."""
    with session.client() as client:
        saved = str(client.batches.download(batch_id, file))
    if session.out.as_json:
        session.out.document({"file": saved})
    session.out.line(saved)


@batches.command()
@click.argument("batch_id", metavar="BATCH")
@asks_the_farm
def results(session: Session, batch_id: str) -> None:
    """Print a line of JSON for each job, with addresses of its files. With --json: one list of them."""
    with session.client() as client:
        found = client.batches.results(batch_id)
        if session.out.as_json:
            session.out.document(list(found))
            return
        for one in found:
            session.out.record(one)


def _chosen(kind: ActKind) -> Callable[[Any], Any]:
    able = acts_on(kind)
    states = click.Choice([str(state) for state in State if state in able])

    def add(command: Any) -> Any:
        if State.FAILED in able:
            command = click.option("--error", "error_code", help="Only jobs that failed with this code.")(command)
        else:
            command = click.option("--state", type=states, help="Only jobs in this state.")(command)
        if kind is ActKind.PRIORITY:
            command = click.option("--priority", type=click.IntRange(0, 9), required=True, help="9 goes first.")(
                command
            )
        return command

    return add


def _act(kind: ActKind, text: str) -> None:
    @batches.command(kind, help=text)
    @click.argument("batch_id", metavar="BATCH")
    @click.option("--label", help="Only jobs with this label.")
    @_chosen(kind)
    @asks_the_farm
    def act(session: Session, batch_id: str, **choice: Any) -> None:
        with session.client() as client:
            batch = client.batches.act(batch_id, str(kind), **choice)
        if session.out.as_json:
            session.out.document(batch)
            return
        done = batch.acts[0]
        changed = f"{done.changed} job{'s' if done.changed != 1 else ''} changed"
        if done.over and not done.changed and not done.error:
            changed = "nothing changed: there is no such job, or it is so already"
        session.out.line(f"{changed}{'' if done.over else ' so far; the farm goes on'}")
        if done.error:
            session.out.say(_act_state(done))


_act(ActKind.CANCEL, "Cancel all jobs of a batch that are not over.")
_act(ActKind.PAUSE, "Let no more jobs of a batch start; running ones go on.")
_act(ActKind.RESUME, "End a pause of a batch.")
_act(ActKind.APPROVE, "Let the jobs of a batch run that --hold-after holds.")
_act(ActKind.RETRY, "Make the failed jobs of a batch anew.")
_act(ActKind.PRIORITY, "Change the priority of jobs that are not over.")
