"""`wanfarm watch`: progress of jobs until they are over, then what became of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.cli.session import Session, asks_the_farm

if TYPE_CHECKING:
    from farm.client import Client
    from farm.wire.own_views import JobView


@click.command()
@click.argument("ids", nargs=-1, metavar="[JOB]...")
@click.option("--label", help="The open jobs with this label.")
@click.option("--download", type=click.Path(path_type=Path, file_okay=False), help="Fetch the results there.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Give up watching (the jobs go on).")
@asks_the_farm
def watch(
    session: Session, ids: Sequence[str], label: str | None, download: Path | None, timeout_s: float | None
) -> int:
    """Show progress until the jobs are over: those named, or all of yours that are open.

    A time left is shown once two denoising steps have been timed, and not before. The exit code is 1 when a job
    failed or was cancelled.
    """
    from farm.jobs.states import OPEN

    with session.client() as client:
        if ids:
            jobs = [client.jobs.get(job_id) for job_id in dict.fromkeys(ids)]
        else:
            # newest first is for reading back; what comes next is for watching
            jobs = list(client.jobs.list(state=sorted(OPEN), label=label, page=200))[::-1]
        if not jobs:
            session.out.say("nothing is open")
            if session.out.as_json:
                session.out.document([])
            return 0
        return watch_and_tell(session, client, jobs, download=download, timeout_s=timeout_s)


def watch_and_tell(
    session: Session,
    client: "Client",
    jobs: "Sequence[JobView]",
    *,
    download: Path | None = None,
    timeout_s: float | None = None,
) -> int:
    """Show progress, fetch what succeeded, print the outcome. The exit code says whether everything succeeded."""
    ended = follow_to_the_end(session, client, jobs, timeout_s=timeout_s)
    files: dict[str, Any] = {}
    if download is not None:
        stems = stems_of(ended)
        for job in ended:
            if job.result is not None:
                files[job.id] = client.jobs.download(job, download, stem=stems[job.id])
    if session.out.as_json:
        session.out.document(
            [{**job.model_dump(mode="json"), **({"files": files[job.id]} if job.id in files else {})} for job in ended]
        )
    else:
        for job in ended:
            _tell(session, job, files.get(job.id))
    return 0 if all(job.state == "succeeded" for job in ended) else 1


def follow_to_the_end(
    session: Session, client: "Client", jobs: "Sequence[JobView]", *, timeout_s: float | None = None
) -> "list[JobView]":
    """The jobs as they ended. Ctrl-C stops the watching only."""
    from farm.cli.bars import shown
    from farm.cli.follow import Follow

    follow = Follow(client, jobs)
    try:
        with shown(follow, session.out) as show:
            return follow.until_over(show, timeout_s=timeout_s)
    except TimeoutError as error:
        raise click.ClickException(f"{error}; the jobs go on: wanfarm watch") from None
    except KeyboardInterrupt:
        session.out.say("no longer watching; the jobs go on (wanfarm watch, wanfarm cancel)")
        raise


def stems_of(jobs: "Sequence[JobView]") -> dict[str, str]:
    """Job id -> name of its files: the job's own name where it has one and nobody else has it, else its id."""
    wanted = {job.id: re.sub(r"[^0-9A-Za-z._-]+", "-", job.name or "").strip("-.")[:80] for job in jobs}
    names = list(wanted.values())
    return {job_id: stem if stem and names.count(stem) == 1 else job_id for job_id, stem in wanted.items()}


def _tell(session: Session, job: "JobView", files: Any) -> None:
    from farm.cli.bars import title, words

    if files is not None:
        session.out.line(str(files.video))
    elif job.result is not None:
        session.out.line(f"{job.id}  {words(job)}  {title(job)}")
        session.out.say(f"  fetch it: wanfarm download {job.id}")
    else:
        session.out.line(f"{job.id}  {words(job)}  {title(job)}")
