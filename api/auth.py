"""Which tenant a request belongs to. A dialect says where it carries its key; farm.tenants resolves the key."""

from flask import g, request

from api.server.marks import TENANT
from api.services import services
from farm.jobs.errors import Forbidden, Unauthorized
from farm.tenants.api_keys import Principal, Role


def bearer_or_header(name: str = "X-API-Key") -> str | None:
    """The key of `Authorization: Bearer`, else of the header `name` (in any case)."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get(name)


def authenticate(key: str | None) -> Principal:
    """From here on `principal()` is whose key it is. Raises Unauthorized."""
    found = services().tenants.api_keys.authenticate(key)
    if found is None:
        raise Unauthorized(
            "this is no valid API key" if key else "send an API key: Authorization: Bearer <key>, or X-API-Key: <key>"
        )
    g.principal = found
    request.environ[TENANT] = found.tenant
    return found


def principal() -> Principal:
    """Whose key the request carries. Only after `authenticate`."""
    found = g.principal
    assert isinstance(found, Principal)
    return found


def tenant() -> str:
    """The id of the caller's tenant."""
    return principal().tenant


def require_admin() -> None:
    """Raises Forbidden unless the key has the role admin."""
    if principal().role is not Role.ADMIN:
        raise Forbidden("this needs a key with the role admin")
