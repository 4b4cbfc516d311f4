"""The apixo.ai dialect: a shell around farm.wire.apixo."""

from flask import Blueprint, Response, request

from api.auth import authenticate, bearer_or_header
from api.dialect import Dialect, answer
from api.provider import credits_left, job_of, report, submit
from farm.jobs.errors import NotFound
from farm.wire import apixo, model_ids, task_ids
from farm.wire.report import Reply
from farm.wire.words import parse_object

blueprint = Blueprint("apixo", __name__, url_prefix="/api/v1")


@blueprint.before_request
def _key() -> None:
    authenticate(bearer_or_header())


@blueprint.post("/generateTask/<path:model>")
def create(model: str) -> Response:
    """Submit a job for the model in the path."""
    job = submit(apixo.parse_create(model, parse_object(request.get_data(cache=False))))
    return answer(Reply(200, apixo.render_created(task_ids.task_id(apixo.DIALECT, job.id))))


@blueprint.get("/statusTask/<path:model>")
def status(model: str) -> Response:
    """A job's state. NotFound for a model that apixo does not have."""
    if model_ids.meaning(apixo.DIALECT, model) is None:
        raise NotFound(f"Model not found: {model[:100]}")
    return answer(Reply(200, apixo.render_status(report(job_of(apixo.DIALECT, request.args.get("taskId"))))))


@blueprint.get("/apikeys/current-balance")
def balance() -> Response:
    """The caller's credit."""
    return answer(Reply(200, apixo.render_balance(credits_left())))


DIALECT = Dialect(blueprint, ("/api/v1/generateTask", "/api/v1/statusTask", "/api/v1/apikeys"), apixo.render_error)
