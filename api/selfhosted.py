"""The self-hosted dialect: /health, /generate, /status/{id}, /jobs. A shell around farm.wire.selfhosted."""

from flask import Blueprint, Response, request

from api.auth import authenticate, bearer_or_header, tenant
from api.dialect import Dialect, answer
from api.limits import count_submission
from api.provider import keyed
from api.results import links
from api.services import renderers, services
from api.streams import client_gone
from farm.jobs.errors import NotFound, Unauthorized, Unavailable
from farm.jobs.ids import is_job_id
from farm.jobs.job import Job
from farm.jobs.states import State
from farm.submission.provider_drafts import keeps_own_shape
from farm.wire import selfhosted
from farm.wire.job_report import fault_of
from farm.wire.report import Output, Reply, Report
from farm.wire.words import parse_object

blueprint = Blueprint("selfhosted", __name__)

#: jobs that one answer lists at most, and how many are read at a time
MAX_LISTED = 10_000
_PAGE = 200


@blueprint.before_request
def _key() -> None:
    # /health asks for none, and looks at one that is sent
    if request.endpoint != f"{blueprint.name}.health":
        authenticate(bearer_or_header())


@blueprint.get("/health")
def health() -> Response:
    """Only the tenant whose job it is sees `current_job`; for every other tenant the farm looks idle."""
    try:
        loaded, current = bool(renderers()), _running_job()
    except Unavailable:
        loaded, current = False, None
    return answer(Reply(200, selfhosted.render_health(loaded=loaded, current_job=current)))


@blueprint.post("/generate")
def generate() -> Response:
    """Submit a job and answer with its place in the queue."""
    draft = selfhosted.parse_create(parse_object(request.get_data(cache=False)))
    count_submission()
    here = services()
    if not keeps_own_shape(here.submissions.model_for(draft)):
        draft = selfhosted.in_its_shape(draft)
    admitted = here.submissions.submit(tenant(), [keyed(draft)], wait_inputs=True, gone=client_gone())[0]
    return answer(Reply(200, selfhosted.render_created(admitted.id, _position(_job(admitted.id)))))


@blueprint.get("/status/<job_id>")
def status(job_id: str) -> Response:
    """A job's state."""
    return answer(Reply(200, selfhosted.render_status(_report(_job(job_id)))))


@blueprint.get("/jobs")
def jobs() -> Response:
    """All jobs of the tenant, whichever dialect they came in."""
    states, limit = selfhosted.parse_query(request.args.get("status"), request.args.get("limit"))
    found: list[Report] = []
    cursor, left = None, min(limit, MAX_LISTED)
    while states and left > 0:
        page = services().ledger.page(tenant(), states=states, cursor=cursor, limit=min(left, _PAGE))
        found += [_report(job) for job in page.jobs]
        cursor, left = page.cursor, left - len(page.jobs)
        if cursor is None:
            break
    return answer(Reply(200, selfhosted.render_listing(found)))


def _running_job() -> str | None:
    try:
        owner = authenticate(bearer_or_header()).tenant
    except Unauthorized:
        return None
    running = services().ledger.page(owner, states=[State.RUNNING], limit=1).jobs
    return running[0].id if running else None


def _job(job_id: str) -> Job:
    job = services().ledger.get(tenant(), job_id) if is_job_id(job_id) else None
    if job is None:
        raise NotFound(selfhosted.NO_JOB)
    return job


def _position(job: Job) -> int:
    if job.state is State.WAITING or (job.state is State.QUEUED and job.position is None):
        # its picture is still being fetched, it is held, or it waits for another attempt: behind all that is queued
        return services().ledger.counts(tenant())[State.QUEUED]
    position = services().ledger.position(job)
    return selfhosted.TAKEN if position is None else position


def _report(job: Job) -> Report:
    files = links(job)
    return Report(
        id=job.id,
        state=job.state,
        outputs=(Output(url=files.video_url),) if files else (),
        fault=fault_of(job),
        prompt=job.spec.prompt,
        created_ms=job.created_ms,
    )


DIALECT = Dialect(blueprint, ("/health", "/generate", "/status", "/jobs"), selfhosted.render_error)
