"""The crun.ai dialect: a shell around farm.wire.crun."""

from flask import Blueprint, Response, request

from api.auth import authenticate, tenant
from api.dialect import Dialect, answer
from api.provider import credits_left, job_of, prepared, report, submit
from api.services import offered_models, services
from farm.jobs.errors import NotFound, PaymentRequired, Unauthorized
from farm.storage.object_keys import upload_key
from farm.storage.uploads import UPLOAD_TTL_S
from farm.submission.provider_drafts import stand_in
from farm.wire import crun, crun_catalog, model_ids, task_ids
from farm.wire.report import Reply
from farm.wire.words import parse_object
from models.catalog import MODELS, Model

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
    """What a task would cost, without submitting it."""
    guess, exact = _guess()
    return answer(Reply(200, crun.render_estimate(guess, estimated=not exact)))


@blueprint.post("/job/EstimateTask")
def estimate_task() -> Response:
    """The same, as crun's own command line asks."""
    guess, _ = _guess()
    return answer(Reply(200, crun_catalog.render_estimate(guess, credits_left())))


@blueprint.get("/job/Models")
def models() -> Response:
    """crun's models that a worker of this farm renders now, by `modality` and `operation`."""
    modality, operation = request.args.get("modality"), request.args.get("operation")
    found = [
        one
        for one in _models()
        if (not modality or modality.lower() == "video")
        and (not operation or operation.lower() == crun_catalog.operation_of(one[1]))
    ]
    return answer(Reply(200, crun_catalog.render_models(found)))


@blueprint.get("/job/Models/<path:model>")
def model_schema(model: str) -> Response:
    """One of them, with the schema of its inputs."""
    wanted = model_ids.canonical(crun.DIALECT, model)
    found = next((one for one in _models() if one[0] == wanted), None)
    if found is None:
        raise NotFound("Model not found")
    return answer(Reply(200, crun_catalog.render_model(*found)))


@blueprint.get("/files/upload-url")
def upload_url() -> Response:
    """Where to PUT a file, and the address by which a task names it."""
    here = services()
    upload_id, _ = here.uploads.room(tenant(), here.settings.gateway.max_body, None)
    put = f"{here.settings.gateway.public_url or request.host_url}".rstrip("/") + f"/v1/uploads/{upload_id}"
    file = here.store.presign_get(upload_key(tenant(), upload_id), ttl_s=UPLOAD_TTL_S, filename=upload_id)
    return answer(Reply(200, crun_catalog.render_upload(put, file)))


def _guess() -> tuple[int, bool]:
    """(micro-credits, whether that is exact) of the task in the body; nothing where nobody pays."""
    draft, here = prepared(crun.parse_create(parse_object(request.get_data(cache=False)))), services()
    job = here.submissions.would_be(tenant(), draft)
    guess = here.prices.hold(job)
    if guess is None:
        if credits_left() is None:
            return 0, True
        raise PaymentRequired(f"the price of {draft.dialect_data['model']} is not known")
    return guess, here.prices.exact(job.spec, job.dialect_data) is not None


def _models() -> list[tuple[str, model_ids.Meaning, Model]]:
    offered = offered_models()
    found = []
    for name, meaning in model_ids.TABLE[crun.DIALECT].items():
        renders = stand_in(meaning.model, offered)
        if renders in offered and renders in MODELS:
            found.append((name, meaning, MODELS[renders]))
    return found


@blueprint.get("/account/balance")
def balance() -> Response:
    """The caller's credit."""
    return answer(Reply(200, crun.render_balance(credits_left())))


DIALECT = Dialect(blueprint, ("/api/v1/client",), crun.render_error)
