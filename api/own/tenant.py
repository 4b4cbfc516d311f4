"""/v1/tenant and /v1/keys: what a tenant's admin sees to itself."""

from typing import Any

from flask import Response

from api import tenant_acts
from api.auth import tenant
from api.dialect import answer
from api.own.blueprint import own_api
from api.own.operations import json_body, operation
from api.services import services
from farm.jobs.errors import NotFound
from farm.jobs.roles import Role
from farm.jobs.tenant_limits import TenantLimits
from farm.tenants.api_keys import ApiKey
from farm.wire import own
from farm.wire.own_tenant import CreateKey, KeyList, KeyView, LowerLimits, NewKeyView, TenantView, view_limits
from farm.wire.own_views import ProblemView, moment
from farm.wire.report import Reply


@own_api.get("/v1/keys")
@operation("List your tenant's keys", {200: KeyList, 403: ProblemView}, role=Role.ADMIN)
def list_keys() -> Response:
    """What may be seen of them, and when they were last used."""
    return answer(Reply(200, KeyList(data=[KeyView(**_about(key)) for key in tenant_acts.live_keys()])))


@own_api.post("/v1/keys")
@operation(
    "Make a key",
    {201: NewKeyView, 403: ProblemView, 422: ProblemView},
    body=CreateKey,
    bodiless=True,
    role=Role.ADMIN,
)
def create_key() -> Response:
    """Of your own tenant, with your own role or one below it. Only its hash is kept."""
    asked = own.parse(CreateKey, json_body() or b"{}")
    key, text = tenant_acts.make_key(asked.role, asked.name, ak=asked.ak)
    return answer(Reply(201, NewKeyView(**_about(key), api_key=text), {"Cache-Control": "no-store"}))


@own_api.delete("/v1/keys/<key_id>")
@operation("Revoke a key", {204: "", 403: ProblemView, 404: ProblemView}, role=Role.ADMIN)
def revoke_key(key_id: str) -> Response:
    """It stops working within seconds, and so do sessions of the console that it began."""
    tenant_acts.revoke_key(key_id)
    return Response(status=204)


@own_api.get("/v1/tenant")
@operation("Your tenant and its limits", {200: TenantView, 403: ProblemView}, role=Role.ADMIN)
def get_tenant() -> Response:
    """Those that hold, and those that the operator grants."""
    return answer(Reply(200, _view(*tenant_acts.limits())))


@own_api.post("/v1/tenant/limits")
@operation(
    "Lower your tenant's limits",
    {200: TenantView, 403: ProblemView, 422: ProblemView},
    body=LowerLimits,
    role=Role.ADMIN,
)
def lower_limits() -> Response:
    """And up again, to what the operator grants. A limit that the operator sets later goes before yours."""
    asked = own.parse(LowerLimits, json_body())
    return answer(Reply(200, _view(*tenant_acts.lower_limits(asked.changes, asked.max_running_in or {}))))


def _view(limits: TenantLimits, granted: TenantLimits) -> TenantView:
    known = services().tenants.get(tenant())
    if known is None:
        raise NotFound("the tenant of this key is gone")
    return TenantView(
        id=known.id, name=known.name, weight=known.weight, limits=view_limits(limits), granted=view_limits(granted)
    )


def _about(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "shown": key.shown,
        "role": key.role,
        "name": key.name,
        "created_at": moment(key.created_ms),
        "last_used": key.last_used,
    }
