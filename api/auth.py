"""Which tenant a request belongs to. A dialect says where it carries its key; farm.tenants resolves the key."""

from collections.abc import Callable

from flask import g, request

from api.server.marks import TENANT
from api.services import services
from farm.jobs.errors import Forbidden, Unauthorized
from farm.jobs.roles import Role
from farm.ledger.operations import Actor
from farm.tenants import vault
from farm.tenants.api_keys import Principal
from farm.wire.dialects import signing

#: checks a request by the secret of its key; raises Unauthorized
Signature = Callable[[str], None]


def bearer_or_header(name: str = "X-API-Key") -> str | None:
    """The key of `Authorization: Bearer`, else of the header `name` (in any case)."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get(name)


def authenticate(key: str | None, signed: Signature | None = None) -> Principal:
    """From here on `principal()` is whose key it is. Raises Unauthorized. A key that has a secret must sign, so it is
    of no use where nothing is signed: `signed` looks at the signature."""
    here = services()
    found = here.tenants.api_keys.authenticate(key)
    if found is None:
        raise Unauthorized(
            "this is no valid API key" if key else "send an API key: Authorization: Bearer <key>, or X-API-Key: <key>"
        )
    secret = here.secrets.get(found.tenant, vault.signing(found.key_id))
    if secret is not None:
        (signed or _unsigned)(secret)
    keys = here.tenants.api_keys
    speak_for(found, lambda: keys.authenticate(key) is not None)
    request.environ[TENANT] = found.tenant
    return found


def speak_for(found: Principal, holds: Callable[[], bool]) -> None:
    """From here on `principal()` is `found`; `holds`: whether that is still so, asked later."""
    g.principal, g.holds = found, holds


def _unsigned(_secret: str) -> None:
    raise Unauthorized(f"this key must sign its requests, as the addresses of {', '.join(signing())} understand it")


def key_holds() -> Callable[[], bool]:
    """Whether the key (or session) of the request at hand is still good, asked later: Redis is asked every
    gateway.key_cache_s."""
    holds: Callable[[], bool] = g.holds
    return holds


def principal() -> Principal:
    """Whose key the request carries. Only after `authenticate`."""
    found = g.principal
    assert isinstance(found, Principal)
    return found


def tenant() -> str:
    """The id of the caller's tenant."""
    return principal().tenant


def require(role: Role) -> None:
    """Raises Forbidden unless the key may do what this role may."""
    if not principal().role.covers(role):
        raise Forbidden(f"this needs a key with the role {role}; this one has the role {principal().role}")


def by(why: str = "") -> Actor:
    """Who asks, as the log of operations names them."""
    key = principal()
    return Actor(f"key {key.key_id} of {key.tenant}", why)
