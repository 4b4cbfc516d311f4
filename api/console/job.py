"""A job's page, and its files under addresses that stay."""

from dataclasses import dataclass

from flask import Response, make_response, render_template

from api.console import words
from api.console.blueprint import console, to
from api.console.chips import chip_of
from api.console.compare import told
from api.console.submit import like
from api.own.jobs import explained, job_of, show
from api.services import services
from farm.jobs.errors import NotFound
from farm.jobs.job import Job
from farm.jobs.states import TERMINAL, HoldReason, State
from farm.wire.own_explain import ExplainView

#: events that are read of a tenant's stream to find those of one job
_EVENTS_READ = 2000
#: file of a result -> the field of Artifacts that names it
_FILES = {"video.mp4": "video", "poster.jpg": "poster", "recipe.json": "recipe"}


@dataclass(frozen=True)
class LogLine:
    """Something that happened to a job; `bad`: not as it should."""

    at_ms: int
    text: str
    bad: bool = False


@console.get("/jobs/<job_id>")
def show_job(job_id: str) -> Response:
    """The job with everything that its owner may know. Raises NotFound."""
    job, ledger = job_of(job_id), services().ledger
    view = show(job)
    batch = ledger.batch(job.tenant, job.batch) if job.batch else None
    page = render_template(
        "console/job.html",
        job=job,
        view=view,
        status=chip_of(job),
        status_of=chip_of,
        parents=[one for one in ledger.find_many(job.parents) if one is not None],
        batch_name=batch.name if batch else "",
        why=_explained(job),
        held=[] if job.state in TERMINAL else [_HELD[reason] for reason in job.held_for],
        lines=log_lines(job),
        recipe=told(view),
        like=like(view),
    )
    return make_response(page)


@console.get("/jobs/<job_id>/<any('video.mp4', 'poster.jpg', 'recipe.json'):name>")
def job_file(job_id: str, name: str) -> Response:
    """To the file at the store, under an address that is signed anew. Raises NotFound for a job without a result."""
    job = job_of(job_id)
    if job.state is not State.SUCCEEDED or job.artifacts is None:
        raise NotFound("this job has no files")
    return to(services().store.presign_get(getattr(job.artifacts, _FILES[name])))


#: why a job is held -> what its owner can do about it
_HELD = {
    HoldReason.APPROVAL: "It waits for somebody's approval. Approve it here, or cancel it.",
    HoldReason.PAUSED: "It is paused, and starts when somebody resumes it.",
    HoldReason.DEPENDENCY: "It starts when the jobs that it follows are done.",
    HoldReason.PARKED: "What it needs is not to be had now. It goes on by itself when that is over.",
}


def _explained(job: Job) -> ExplainView | None:
    if job.state not in (State.WAITING, State.QUEUED):
        return None
    return explained(job)


def log_lines(job: Job) -> list[LogLine]:
    """What happened to the job, the oldest first, for as long as the events of its tenant or batch are kept; and what
    its workers logged of it."""
    lines = [LogLine(job.created_ms, "submitted")]
    last: tuple[object, ...] = ()
    ledger, since = services().ledger, f"{job.created_ms - 1}"
    for event in ledger.events(ledger.stream_of(job), after=since, job_id=job.id, count=_EVENTS_READ):
        data = event.data
        at_ms = int(event.id.partition("-")[0])
        if "retry_in_s" in data:
            text = f"attempt {data['attempt']} failed: {data.get('error_code')}: {data.get('error_message')}"
            lines.append(LogLine(at_ms, f"{text}; tried again in {words.span(float(data['retry_in_s']))}", bad=True))
            continue
        mark = (data.get("state"), data.get("phase"), data.get("attempt"), data.get("held_for"))
        if mark != last:
            status = words.status_of_event(data)
            attempt = f", attempt {data['attempt']}" if data.get("attempt") else ""
            fault = f": {data['error_message']}" if data.get("error_message") else ""
            lines.append(
                LogLine(at_ms, f"{status.word.lower()}{attempt}{fault}", bad=data.get("state") == State.FAILED)
            )
        last = mark
    lines += [LogLine(one.at_ms, one.text, one.bad) for one in ledger.lines_of(job.id)]
    return sorted(lines, key=lambda line: line.at_ms)
