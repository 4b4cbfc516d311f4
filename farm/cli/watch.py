"""`wanfarm watch`: progress of jobs until they are over, then what became of them."""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.cli.exit_codes import INTERRUPTED
from farm.cli.label_option import label_option
from farm.cli.session import Session, asks_the_farm
from farm.jobs.file_names import safe_name

if TYPE_CHECKING:
    from farm.client import Client
    from farm.wire.own_views import JobView


@click.command()
@click.argument("ids", nargs=-1, metavar="[JOB]...")
@label_option("All your open jobs with this label.")
@click.option("--download", type=click.Path(path_type=Path, file_okay=False), help="Fetch the results there.")
@click.option(
    "--timeout", "timeout_s", type=float, metavar="SECONDS", help="Watch no longer than this; the jobs go on."
)
@asks_the_farm
def watch(
    session: Session, ids: Sequence[str], label: str | None, download: Path | None, timeout_s: float | None
) -> int:
    """Show progress of jobs until they are over. Without JOB: of all your open jobs.

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
        stems = stems_of(ended, download)
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
        # said once is enough
        raise click.exceptions.Exit(INTERRUPTED) from None


def stems_of(jobs: "Sequence[JobView]", folder: Path) -> dict[str, str]:
    """Job id -> name of its files in the folder: the job's own name, or else its id. A name that another job's files
    have already gets a number behind it: take two does not replace take one."""
    taken: dict[str, str] = {}
    stems = {}
    for job in jobs:
        name = safe_name(job.name or "") or job.id
        for number in count(1):
            stem = name if number == 1 else f"{name}-{number}"
            # some file systems do not tell FOX from fox
            if taken.setdefault(stem.casefold(), job.id) == job.id and _is_free(folder, stem, job.id):
                stems[job.id] = stem
                break
    return stems


def _is_free(folder: Path, stem: str, job_id: str) -> bool:
    """Whether nothing is called that, or it is the same job's, by its recipe."""
    if not any((folder / f"{stem}{ending}").exists() for ending in (".mp4", ".jpg", ".json")):
        return True
    try:
        recipe = json.loads((folder / f"{stem}.json").read_bytes())
        return bool(recipe["provenance"]["job"] == job_id)
    except (OSError, ValueError, TypeError, KeyError):
        # no recipe of ours: files named by an id are that job's all the same
        return stem == job_id


def _tell(session: Session, job: "JobView", files: Any) -> None:
    from farm.cli.bars import title, words

    if files is not None:
        session.out.line(str(files.video))
    elif job.result is not None:
        session.out.line(f"{job.id}  {words(job)}  {title(job)}")
        session.out.say(f"  fetch it: wanfarm download {job.id}")
    else:
        session.out.line(f"{job.id}  {words(job)}  {title(job)}")
