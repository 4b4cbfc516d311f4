"""/v1/uploads, /v1/models, /v1/workers: everything beside the jobs."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from flask import Response, request
from pydantic import BaseModel, ConfigDict, Field

from api.auth import tenant
from api.dialect import answer
from api.own.blueprint import keyless, own_api
from api.own.operations import json_body, operation, query
from api.services import offered_models, services
from farm.config import IntakeSettings
from farm.jobs.draft import Draft
from farm.jobs.errors import InvalidRequest, NotFound, RequestError, TooLarge, Unavailable
from farm.jobs.roles import Role
from farm.ledger import SwitchKind
from farm.wire import own
from farm.wire.model_ids import OPENAI_DEFAULTS
from farm.wire.own_farm_views import ModelList, ModelView, WorkerList, view_model, view_worker
from farm.wire.own_views import ProblemView, UploadView
from farm.wire.report import Reply
from models.catalog import MODELS


class CreateUpload(own.Strict):
    """Nothing needs to be said of an input."""

    purpose: Literal["input", "lora"] = Field("input", alias="for", description="`lora`: a file for POST /v1/loras")
    size: int | None = Field(
        None, ge=1, description="bytes of the file: `url` takes exactly so many. Left out: fewer fit (`max_bytes`)"
    )


class WorkersQuery(BaseModel):
    """`cursor` is the `next_cursor` of the page before."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(None, max_length=600)
    limit: int = Field(1000, ge=1, le=1000)


@own_api.post("/v1/uploads")
@operation(
    "Make room for an input or a LoRA",
    {201: UploadView, 403: ProblemView, 413: ProblemView, 422: ProblemView},
    body=CreateUpload,
    bodiless=True,
)
def create_upload() -> Response:
    """PUT the bytes to `url`, without an API key, before it expires; then submit with `{"image": {"upload": id}}`. They
    are checked when a job, or `POST /v1/loras`, names them. Uploads that no request names are removed after three
    days."""
    asked = own.parse(CreateUpload, json_body() or b"{}")
    here = services()
    limits = here.settings
    most = limits.loras.max_bytes if asked.purpose == "lora" else _largest_input(limits.intake)
    if asked.size is None:
        most = min(most, limits.gateway.max_body)
    elif asked.size > most:
        raise TooLarge(f"{asked.size} bytes are more than the {most} that one upload may have", "size")
    upload_id, url = here.uploads.room(tenant(), most, asked.size)
    upload = UploadView(
        id=upload_id,
        url=url or f"{limits.gateway.public_url or request.host_url}".rstrip("/") + f"/v1/uploads/{upload_id}",
        expires_at=datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=limits.s3.upload_ttl_s),
        max_bytes=most if asked.size is None else asked.size,
    )
    return answer(Reply(201, upload))


@keyless.put("/v1/uploads/<upload_id>")
@operation("Send an upload whose size was not said", {200: "", 404: ProblemView, 413: ProblemView}, keyless=True)
def put_upload(upload_id: str) -> Response:
    """The `url` of `POST /v1/uploads` without a `size`: a client that has it may send the bytes until it expires."""
    services().uploads.put(upload_id, request.get_data(cache=False))
    return Response(status=200)


@own_api.get("/v1/models")
@operation("List models", {200: ModelList})
def listlisted_models() -> Response:
    """What each accepts and does by default, and whether a worker that is alive offers it."""
    return answer(Reply(200, ModelList(data=listed_models())))


@own_api.get("/v1/models/<model_id>")
@operation("Get a model", {200: ModelView, 404: ProblemView})
def get_model(model_id: str) -> Response:
    """By its id, or by OpenAI's name for what the farm renders by default."""
    found = next((model for model in listed_models() if model.id == model_id), None)
    if found is None:
        raise NotFound(f"no model {model_id[:100]}; GET /v1/models lists those that there are")
    return answer(Reply(200, found))


def listed_models() -> list[ModelView]:
    """The catalog, and OpenAI's names while there is a default model behind them."""
    offered = offered_models()
    models = [view_model(model, available=model.id in offered) for model in MODELS.values()]
    try:
        default = services().submissions.model_for(Draft(prompt=None))
    except (RequestError, Unavailable):
        return models
    available = default.id in offered
    return models + [view_model(default, available=available, alias=name) for name in OPENAI_DEFAULTS]


@own_api.get("/v1/workers")
@operation(
    "List workers", {200: WorkerList, 403: ProblemView, 422: ProblemView}, query=WorkersQuery, role=Role.OPERATOR
)
def list_workers() -> Response:
    """What each live worker last said of itself."""
    asked = query(WorkersQuery)
    found, more = services().ledger.some_workers(after=place_of(asked.cursor), limit=asked.limit)
    cursor = f"{found[-1].pool} {found[-1].worker}" if more and found else None
    paused = services().ledger.paused()
    data = [view_worker(one, locked=(SwitchKind.WORKER, one.worker) in paused) for one in found]
    return answer(Reply(200, WorkerList(data=data, next_cursor=cursor)))


def place_of(cursor: str | None) -> tuple[str, str] | None:
    """The pool and the name that a cursor of a list of workers consists of. Raises InvalidRequest."""
    if cursor is None:
        return None
    pool, space, worker = cursor.partition(" ")
    if not space:
        raise InvalidRequest("not the next_cursor of a page; leave it out for the first page", "cursor")
    return pool, worker


def _largest_input(limits: IntakeSettings) -> int:
    """Bytes that an upload may have while its role is not known yet."""
    return max(limits.max_image_bytes, limits.max_video_bytes, limits.max_audio_bytes)
