"""/v1/webhooks: the secret that signs a tenant's events, and those that could not be delivered."""

from datetime import datetime
from typing import Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from api import tenant_acts
from api.auth import tenant
from api.dialect import answer
from api.own.blueprint import own_api
from api.own.operations import operation, query
from api.services import services
from farm.jobs.errors import NotFound
from farm.jobs.roles import Role
from farm.webhooks.deliveries import Deliveries, message_id
from farm.webhooks.own_secret import secret_of
from farm.wire.own_views import ProblemView, View, moment
from farm.wire.report import Reply


class DeadQuery(BaseModel):
    """How many at most."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(100, ge=1, le=1000)


class Secret(View):
    """Standard Webhooks: `whsec_` and base64. The headers webhook-id, webhook-timestamp and webhook-signature are made
    with it, in every dialect."""

    secret: str


class DeadLetter(View):
    """An event that was given up. `id` is the webhook-id that the receiver saw; `status` 0 means no answer."""

    id: str
    job: str
    url: str
    attempts: int
    status: int
    error: str
    created_at: datetime


class DeadLetters(View):
    """Callbacks that were given up."""

    object: Literal["list"] = "list"
    data: list[DeadLetter]


@own_api.get("/v1/webhooks/secret")
@operation("Get the webhook secret", {200: Secret}, role=Role.ADMIN)
def webhook_secret() -> Response:
    """Made when it is first asked for or needed."""
    return answer(Reply(200, Secret(secret=secret_of(services().secrets, tenant()))))


@own_api.post("/v1/webhooks/secret")
@operation("Change the webhook secret", {200: Secret}, role=Role.ADMIN)
def change_webhook_secret() -> Response:
    """A new one. Events are signed with the one before it, too, until that is changed again."""
    return answer(Reply(200, Secret(secret=tenant_acts.change_webhook_secret())))


@own_api.get("/v1/webhooks/dead")
@operation("List dead letters, newest first", {200: DeadLetters, 422: ProblemView}, query=DeadQuery, role=Role.ADMIN)
def dead_letters() -> Response:
    """Events that no receiver took in a day, or that were refused for good."""
    found = _deliveries().dead(tenant(), count=query(DeadQuery).limit)
    letters = [
        DeadLetter(
            id=one.id,
            job=one.job,
            url=one.url,
            attempts=one.attempts,
            status=one.status,
            error=one.error,
            created_at=moment(one.created_ms),
        )
        for one in found
    ]
    return answer(Reply(200, DeadLetters(data=letters)))


@own_api.post("/v1/webhooks/<job_id>/replay")
@operation("Send a dead letter again", {202: "", 404: ProblemView}, role=Role.ADMIN)
def replay_letter(job_id: str) -> Response:
    """The one of that job: with all its retries, and the addresses of the result signed anew."""
    if not _deliveries().replay(tenant(), message_id(job_id)):
        raise NotFound(f"no dead letter of job {job_id[:64]}")
    return Response(status=202)


def _deliveries() -> Deliveries:
    here = services()
    return Deliveries(here.redis, here.settings)
