"""/v1/jobs: create, get, list, cancel."""

from flask import Response, request
from pydantic import BaseModel, ConfigDict, Field

from api.auth import tenant
from api.dialect import answer
from api.limits import count_submission
from api.own.blueprint import own_api
from api.own.operations import json_body, operation, query
from api.results import links
from api.services import services
from api.streams import client_gone
from farm.jobs.errors import Conflict, InvalidRequest, NotFound
from farm.jobs.ids import JOB_ID, is_job_id
from farm.jobs.job import Job, Page
from farm.jobs.standing import Limit
from farm.jobs.states import TERMINAL, HoldReason, State
from farm.ledger import CancelOutcome
from farm.scheduling.offers import takers
from farm.wire import own
from farm.wire.own_explain import ExplainView, explain, external
from farm.wire.own_forecast import forecast_of, left_s
from farm.wire.own_views import EstimateView, JobList, JobView, ProblemView, eta_s, view_estimate, view_job
from farm.wire.report import Reply


class ListQuery(BaseModel):
    """`state` may be given several times; `cursor` is the `next_cursor` of the page before. `idempotency_key`: the job
    that was made with it in the last 24 hours, if one was."""

    model_config = ConfigDict(extra="forbid")

    state: list[State] = Field(default_factory=list)
    model: str | None = Field(None, max_length=200)
    label: str | None = Field(None, max_length=100)
    idempotency_key: str | None = Field(None, max_length=own.MAX_IDEMPOTENCY_KEY)
    cursor: str | None = Field(None, max_length=200, json_schema_extra={"pattern": f"^{JOB_ID}$"})
    limit: int = Field(50, ge=1, le=200)


@own_api.post("/v1/jobs")
@operation(
    "Submit a job",
    {
        201: JobView,
        200: JobView,
        409: ProblemView,
        413: ProblemView,
        415: ProblemView,
        422: ProblemView,
        429: ProblemView,
    },
    body=own.CreateJob,
    headers={
        "Idempotency-Key": "1 to 255 characters. The same key and body answer with the first job (200) for 24 hours; "
        "the same key with another body is 409",
        "Prefer": "`respond-async`: do not wait for the inputs; the job is `waiting` until they were fetched",
    },
)
def create_job() -> Response:
    """Inputs are fetched and checked before the answer, so that a bad one is refused at once."""
    key = own.parse_idempotency_key(request.headers.get("Idempotency-Key"))
    draft = own.parse_create(json_body(), idempotency_key=key)
    wait = "respond-async" not in request.headers.get("Prefer", "").lower()
    count_submission()
    admitted = services().submissions.submit(tenant(), [draft], wait_inputs=wait, gone=client_gone())[0]
    view = show(admitted.job or job_of(admitted.id))
    headers = {"Location": f"/v1/jobs/{admitted.id}"}
    if admitted.created:
        return answer(Reply(201, view, headers))
    return answer(Reply(200, view, {**headers, "Idempotent-Replayed": "true"}))


@own_api.post("/v1/jobs/estimate")
@operation("Try a job without making it", {200: EstimateView, 415: ProblemView, 422: ProblemView}, body=own.CreateJob)
def estimate_job() -> Response:
    """Everything about the request is checked, but its inputs are not read and nothing is kept."""
    here, draft = services(), own.parse_create(json_body())
    job = here.submissions.would_be(tenant(), draft)
    here.submissions.vet_addresses([draft])
    return answer(Reply(200, view_estimate(job, here.prices.exact(job.spec, job.dialect_data))))


@own_api.get("/v1/jobs/<job_id>")
@operation("Get a job", {200: JobView, 404: ProblemView})
def get_job(job_id: str) -> Response:
    """The addresses of a result are signed anew at each call and last an hour."""
    return answer(Reply(200, show(job_of(job_id))))


@own_api.get("/v1/jobs/<job_id>/explain")
@operation("Why a job waits", {200: ExplainView, 404: ProblemView})
def explain_job(job_id: str) -> Response:
    """What is served before it, in GPU-seconds, which limit keeps it back, and what would change that. Of other tenants
    it tells totals alone."""
    return answer(Reply(200, explained(job_of(job_id))))


@own_api.get("/v1/jobs")
@operation("List jobs, newest first", {200: JobList, 422: ProblemView}, query=ListQuery)
def list_jobs() -> Response:
    """A page of the caller's jobs, newest first."""
    asked = query(ListQuery)
    if asked.cursor is not None and not is_job_id(asked.cursor):
        raise InvalidRequest("not the next_cursor of a page; leave it out for the first page", "cursor")
    if asked.idempotency_key is not None:
        known = services().ledger.known_key(tenant(), asked.idempotency_key)
        job = None if known is None else services().ledger.get(tenant(), known[0])
        return answer(Reply(200, JobList(data=[] if job is None else [show(job)])))
    page = services().ledger.page(
        tenant(), states=asked.state, model=asked.model, label=asked.label, cursor=asked.cursor, limit=asked.limit
    )
    return answer(Reply(200, listed(page)))


@own_api.post("/v1/jobs/<job_id>/cancel")
@own_api.delete("/v1/jobs/<job_id>")
@operation("Cancel a job", {200: JobView, 202: JobView, 404: ProblemView, 409: ProblemView})
def cancel_job(job_id: str) -> Response:
    """200: it is cancelled. 202: its worker is being stopped, and the job can no longer succeed. 409: it had ended
    otherwise."""
    check_id(job_id)
    outcome = services().ledger.cancel(tenant(), job_id)
    if outcome is CancelOutcome.NOT_FOUND:
        raise NotFound(f"no job {job_id}")
    job = job_of(job_id)
    if outcome is CancelOutcome.OVER and job.state is not State.CANCELLED:
        raise Conflict(f"the job has {job.state} already")
    return answer(Reply(202 if outcome is CancelOutcome.CANCELLING else 200, show(job)))


def job_of(job_id: str) -> Job:
    """The caller's job of that id. NotFound for one that is not there, not theirs, or no id at all."""
    check_id(job_id)
    job = services().ledger.get(tenant(), job_id)
    if job is None:
        raise NotFound(f"no job {job_id}")
    return job


def show(job: Job) -> JobView:
    """A job as its owner sees it now."""
    pauses = services().pauses
    job, kept = pauses.told(job), [one.view for one in pauses.keeping(job)]
    # where no live worker takes it, nobody knows when one will
    moves = job.position is not None and not job.held and could_start(job)
    line = services().forecasts.line(job) if moves else None
    forecast = forecast_of(job, line)
    left = left_s(job, forecast) if job.state is State.QUEUED else eta_s(job)
    return view_job(job, eta_s=left, links=links(job), forecast=forecast, operator_pauses=kept)


def could_start(job: Job) -> bool:
    """Whether a live worker of its pool renders its model, has the memory for it and is not locked."""
    return services().submissions.pools.takers(job.pool, job.spec.model, job.needs).open > 0


def explained(job: Job) -> ExplainView:
    """Why the job waits. Raises NotFound where it is gone meanwhile."""
    ledger = services().ledger
    standing = ledger.standing(job.id)
    if standing is None:
        raise NotFound(f"no job {job.id}")
    line = ledger.forecast(job.pool, job.tier, job.tenant) if job.position is not None else None
    view = explain(
        job,
        standing,
        takers=takers(ledger.offers(), job.pool, job.spec.model, job.needs),
        forecast=forecast_of(job, line, standing.own_s),
        cap=_cap(job, standing.limit),
        follows=_follows(job),
    )
    return view.model_copy(update={"external": external(ledger.decision(job.id))})


def _cap(job: Job, limit: Limit | None) -> int | None:
    """What the cap is that binds its tenant."""
    if limit not in (Limit.CAP, Limit.POOL_CAP):
        return None
    limits, _ = services().tenants.own_limits.of(job.tenant)
    return limits.max_running if limit is Limit.CAP else limits.max_running_in.get(job.pool)


def _follows(job: Job) -> list[str]:
    """Those of the jobs before it that have no result yet; for one that was made anew, the new one."""
    if HoldReason.DEPENDENCY not in job.held_for:
        return []
    ledger, wanted, found = services().ledger, list(job.parents), list[str]()
    while wanted:
        here = [one for one in ledger.find_many(wanted) if one is not None and one.state is not State.SUCCEEDED]
        found += [one.id for one in here if one.retried_as is None]
        wanted = [one.retried_as for one in here if one.retried_as is not None]
    return found


def open_jobs(limit: int) -> JobList:
    """The newest of the caller's jobs that are not over."""
    return listed(services().ledger.page(tenant(), states=frozenset(State) - TERMINAL, limit=limit))


def listed(page: Page) -> JobList:
    """A page as it is answered."""
    return JobList(data=[show(job) for job in page.jobs], next_cursor=page.cursor)


def check_id(job_id: str) -> None:
    """NotFound, without asking anybody, for what is no id of ours."""
    if not is_job_id(job_id):
        raise NotFound(f"no job {job_id[:64]}")
