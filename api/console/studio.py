"""A tenant's admin sees to keys, limits and webhooks of its own tenant."""

from flask import Response, make_response, render_template, request, url_for

from api import tenant_acts
from api.auth import principal, require, tenant
from api.console.blueprint import console, to
from api.services import services
from farm.jobs.errors import InvalidRequest
from farm.jobs.roles import Role
from farm.tenants.own_limits import LIMITS
from farm.webhooks.own_secret import secret_of


@console.get("/studio")
def studio() -> Response:
    """Keys, limits, and the secret of webhooks. Raises Forbidden."""
    return _page()


def _page(made: str | None = None) -> Response:
    """`made`: the text of a key that was just made, which is shown once."""
    require(Role.ADMIN)
    limits, granted = tenant_acts.limits()
    return make_response(
        render_template(
            "console/studio.html",
            keys=tenant_acts.live_keys(),
            roles=[role for role in Role if principal().role.covers(role)],
            limits=[(name, getattr(limits, name), getattr(granted, name)) for name in LIMITS],
            made=made,
            secret=secret_of(services().secrets, tenant()),
            own_key=principal().key_id,
        )
    )


@console.post("/studio/keys")
def make_key() -> Response:
    """The page with the new key. Raises Forbidden, InvalidRequest."""
    try:
        role = Role(request.form.get("role", ""))
    except ValueError:
        raise InvalidRequest(f"one of {', '.join(Role)}", "role") from None
    name = request.form.get("name", "").strip()
    if len(name) > 200:
        raise InvalidRequest("at most 200 characters", "name")
    return _page(tenant_acts.make_key(role, name)[1])


@console.post("/studio/keys/<key_id>/revoke")
def revoke_key(key_id: str) -> Response:
    """Raises Forbidden, NotFound."""
    tenant_acts.revoke_key(key_id)
    return to(url_for("console.studio"))


@console.post("/studio/limits")
def lower_limits() -> Response:
    """An empty field is what the operator grants. Raises Forbidden, InvalidRequest."""
    require(Role.ADMIN)
    tenant_acts.lower_limits({name: _number(name) for name in LIMITS if name in request.form}, {})
    return to(url_for("console.studio"))


@console.post("/studio/webhook-secret")
def change_webhook_secret() -> Response:
    """Raises Forbidden."""
    tenant_acts.change_webhook_secret()
    return to(url_for("console.studio"))


def _number(name: str) -> float | None:
    text = request.form.get(name, "").strip()
    if not text:
        return None
    try:
        return float(text) if "usd" in name or "rate" in name else int(text)
    except ValueError:
        raise InvalidRequest("a number, or nothing for what the operator grants", name) from None
