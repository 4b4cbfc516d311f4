"""The crun.ai dialect: a shell around farm.wire.crun."""

from flask import Blueprint, Response, request

from api.auth import authenticate, tenant
from api.dialect import Dialect, answer
from api.provider import credits_left, job_of, prepared, report, submit
from api.services import services
from farm.jobs.errors import PaymentRequired, Unauthorized
from farm.wire import crun, task_ids
from farm.wire.report import Reply
from farm.wire.words import parse_object

blueprint = Blueprint("crun", __name__, url_prefix="/api/v1/client")


@blueprint.before_request
def _key() -> None:
    key = request.headers.get("X-API-KEY")
    if not key:
        raise Unauthorized(crun.KEY_MISSING)
    authenticate(key)


@blueprint.post("/job/CreateTask")
def create() -> Response:
    """Submit a job."""
    job = submit(crun.parse_create(parse_object(request.get_data(cache=False))))
    return answer(Reply(200, crun.render_created(task_ids.task_id(crun.DIALECT, job.id))))


@blueprint.get("/job/TaskInfo")
def status() -> Response:
    """A job's state."""
    return answer(Reply(200, crun.render_status(report(job_of(crun.DIALECT, request.args.get("task_id"))))))


@blueprint.post("/job/estimate-credits")
def estimate() -> Response:
    """What a job would cost, without submitting it. PaymentRequired where there is no price."""
    draft, here = prepared(crun.parse_create(parse_object(request.get_data(cache=False)))), services()
    job = here.submissions.would_be(tenant(), draft)
    guess = here.prices.hold(job)
    if guess is None:
        raise PaymentRequired(f"the price of {draft.dialect_data['model']} is not known")
    return answer(
        Reply(200, crun.render_estimate(guess, estimated=here.prices.exact(job.spec, job.dialect_data) is None))
    )


@blueprint.get("/account/balance")
def balance() -> Response:
    """The caller's credit."""
    return answer(Reply(200, crun.render_balance(credits_left())))


DIALECT = Dialect(blueprint, ("/api/v1/client",), crun.render_error)
