"""`wanfarm jobs`, `show`, `cancel`, `download`: looking at jobs and ending them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farm.cli.label_option import label_option
from farm.cli.session import Session, asks_the_farm
from farm.jobs.states import TERMINAL, State

if TYPE_CHECKING:
    from farm.wire.own_views import JobView


@click.command()
@click.option("--state", type=click.Choice([str(state) for state in State]), help="Only these.")
@click.option("--model", help="Only of this model.")
@label_option("Only with this label.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=25, show_default=True, help="How many at most.")
@asks_the_farm
def jobs(session: Session, state: str | None, model: str | None, label: str | None, limit: int) -> None:
    """List your jobs, newest first."""
    with session.client() as client:
        page = min(limit + 1, 100)
        listed = list(islice(client.jobs.list(state=state, model=model, label=label, page=page), limit + 1))
    more = len(listed) > limit
    del listed[limit:]
    if session.out.as_json:
        session.out.document(listed)
        return
    from farm.cli.bars import title, words

    session.out.table(
        ["job", "what", "model", "size", ">frames", "age", "state"],
        [[job.id, title(job, 28), job.model, _size(job), job.frames, _age(job), words(job)] for job in listed],
        empty='no jobs; wanfarm submit --prompt "..."',
    )
    if more:
        session.out.say(f"there are more: wanfarm jobs -n {limit * 4}")


@click.command()
@click.argument("job_id", metavar="JOB")
@asks_the_farm
def explain(session: Session, job_id: str) -> None:
    """Why a job waits, and what would change that."""
    with session.client() as client:
        told = client.jobs.explain(job_id)
    if session.out.as_json:
        session.out.document(told)
        return
    ahead, over = told.ahead_gpu_s, told.state in TERMINAL
    session.out.facts(
        {
            "job": told.job,
            "state": f"{told.state}, of the tier {told.tier}",
            "what binds": None if over else told.binds.replace("_", " "),
            "rule": told.rule,
            "would change": told.would_change or None,
            "not before": told.not_before,
            "yours before": ahead
            and f"{told.position} jobs, {'' if ahead.own_exact else 'at least '}{ahead.own:.1f} GPU-seconds",
            "others before": ahead and f"{ahead.others:.1f} GPU-seconds",
            "starts": told.forecast
            and _interval(told.forecast.start, told.forecast.start_from, told.forecast.start_until),
            "ends": told.forecast
            and _interval(told.forecast.finish, told.forecast.finish_from, told.forecast.finish_until),
            "pool": None
            if over
            else f"{told.pool}: {told.running} jobs at its workers, which render {told.capacity} at once",
            "elsewhere": told.external and f"{told.external.verdict}: {told.external.why}",
        }
    )


def _interval(middle: datetime, earliest: datetime, latest: datetime) -> str:
    times = [when.astimezone() for when in (earliest, middle, latest)]
    # a clock without a day would be read as today's
    today = {when.date() for when in times} == {datetime.now().astimezone().date()}
    first, at, last = (when.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M") for when in times)
    return f"about {at}, with 80 % between {first} and {last}"


@click.command()
@click.argument("job_id", metavar="JOB")
@asks_the_farm
def show(session: Session, job_id: str) -> None:
    """Everything about one job."""
    with session.client() as client:
        job = client.jobs.get(job_id)
    if session.out.as_json:
        session.out.document(job)
        return
    from farm.cli.bars import shot, words
    from farm.cli.output import as_text

    guidance = f"{job.guidance:g}" if job.guidance_2 is None else f"{job.guidance:g}, then {job.guidance_2:g}"
    session.out.facts(
        {
            "job": job.id,
            "name": job.name,
            "label": job.label,
            "batch": job.batch,
            "shot": shot(job) or None,
            "follows": ", ".join(job.after) or None,
            "made anew as": job.retried_as,
            "state": said if (said := words(job)).startswith(job.state) else f"{job.state} ({said})",
            "paused": "; ".join(f"{one.kind} {one.name}, since {as_text(one.since)}" for one in job.operator_pauses)
            or None,
            "time left": f"about {job.eta_s:.0f} s" if job.eta_s is not None else None,
            "attempt": f"{job.attempt} of at most {job.max_attempts}" if job.attempt else None,
            "model": job.model,
            "task": job.task,
            "prompt": job.prompt,
            "negative prompt": job.negative_prompt or None,
            **{f"input {role}": ref.sha256 or ref.url for role, ref in job.inputs.items()},
            **{f"about the {role}": "; ".join(ref.notes) for role, ref in job.inputs.items() if ref.notes},
            "LoRAs": ", ".join(f"{one.name}:{one.scale:g}:{one.expert}" for one in job.loras) or None,
            "options": ", ".join(f"{name}={value}" for name, value in job.options.items()) or None,
            "size": _size(job) or "as its input, which is not here yet",
            "length": _length(job),
            "steps": job.steps,
            "guidance": guidance,
            "shift": f"{job.shift:g}",
            "seed": job.seed,
            "created": job.created_at,
            "started": job.started_at,
            "finished": job.finished_at,
            **(
                {
                    "result": f"{job.result.size} bytes, sha256 {job.result.sha256}",
                    "fetch": f"wanfarm download {job.id}",
                }
                if job.result
                else {}
            ),
        }
    )


@click.command()
@click.argument("ids", nargs=-1, metavar="JOB...", required=True)
@asks_the_farm
def cancel(session: Session, ids: Sequence[str]) -> None:
    """Cancel jobs. A running one stops at its next denoising step."""
    from farm.cli.bars import words

    with session.client() as client:
        ended = [client.jobs.cancel(job_id) for job_id in dict.fromkeys(ids)]
    if session.out.as_json:
        session.out.document(ended)
        return
    for job in ended:
        session.out.line(f"{job.id}  {words(job)}")


@click.command()
@click.argument("ids", nargs=-1, metavar="JOB...", required=True)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out"),
    show_default=True,
    help="Folder for the files.",
)
@asks_the_farm
def download(session: Session, ids: Sequence[str], folder: Path) -> None:
    """Fetch the results of jobs, and check them.

    Of each finished job its video, poster and recipe; the check says whether they are what the farm committed.
    """
    from farm.cli.watch import stems_of

    with session.client() as client:
        found = [client.jobs.get(job_id) for job_id in dict.fromkeys(ids)]
        stems = stems_of(found, folder)
        files = {job.id: client.jobs.download(job, folder, stem=stems[job.id]) for job in found}
    if session.out.as_json:
        session.out.document(files)
        return
    for one in files.values():
        session.out.line(str(one.video))


def _size(job: "JobView") -> str | None:
    return None if job.width is None else f"{job.width}x{job.height}"


def _length(job: "JobView") -> str:
    if job.frames is None:
        return "as its clip, which is not here yet"
    return f"{job.frames} frames at {job.fps} fps ({job.duration_s:g} s)"


def _age(job: "JobView") -> str:
    seconds = int((datetime.now(UTC) - job.created_at).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{max(0, seconds)} s"
