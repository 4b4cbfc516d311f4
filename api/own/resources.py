"""/v1/uploads, /v1/models, /v1/workers: everything beside the jobs."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from flask import Response
from pydantic import Field

from api.auth import require_admin, tenant
from api.dialect import answer
from api.own.blueprint import own_api
from api.own.operations import json_body, operation
from api.services import offered_models, services
from farm.config import IntakeSettings
from farm.jobs.ids import new_job_id
from farm.storage.object_keys import upload_key
from farm.wire import own
from farm.wire.own_views import ModelList, ProblemView, UploadView, WorkerList, view_model
from farm.wire.report import Reply
from models.catalog import MODELS


class CreateUpload(own.Strict):
    """Nothing needs to be said of an input."""

    purpose: Literal["input", "lora"] = Field("input", alias="for", description="`lora`: a file for POST /v1/loras")


@own_api.post("/v1/uploads")
@operation("Make room for an input or a LoRA", {201: UploadView, 422: ProblemView}, body=CreateUpload, bodiless=True)
def create_upload() -> Response:
    """PUT the bytes to `url`, without an API key, before it expires; then submit with `{"image": {"upload": id}}`. They
    are checked when a job, or `POST /v1/loras`, names them. Uploads that nobody names are removed."""
    asked = own.parse(CreateUpload, json_body() or b"{}")
    here, upload_id = services(), new_job_id()
    limits = here.settings
    life = timedelta(seconds=here.settings.s3.upload_ttl_s)
    upload = UploadView(
        id=upload_id,
        url=here.store.presign_put(upload_key(tenant(), upload_id)),
        expires_at=datetime.now(UTC).replace(microsecond=0) + life,
        max_bytes=limits.loras.max_bytes if asked.purpose == "lora" else _largest_input(limits.intake),
    )
    return answer(Reply(201, upload))


@own_api.get("/v1/models")
@operation("List models", {200: ModelList})
def list_models() -> Response:
    """What each accepts and does by default, and whether a worker that is alive offers it."""
    offered = offered_models()
    return answer(Reply(200, ModelList(data=[view_model(m, available=m.id in offered) for m in MODELS.values()])))


@own_api.get("/v1/workers")
@operation("List workers", {200: WorkerList, 403: ProblemView})
def list_workers() -> Response:
    """For a key with the role admin."""
    require_admin()
    return answer(Reply(200, WorkerList(data=services().ledger.workers())))


def _largest_input(limits: IntakeSettings) -> int:
    """Bytes that an upload may have as long as nobody knows which role it will have."""
    return max(limits.max_image_bytes, limits.max_video_bytes, limits.max_audio_bytes)
