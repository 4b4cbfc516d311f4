"""What a tenant's admin does to its keys, limits and webhooks, for /v1 and for the console: within its own tenant, and
no more than the asker's own role covers. Each act is a line of the log of operations and of the tenant's activity."""

from collections.abc import Mapping, Sequence

from api.auth import by, principal, require, tenant
from api.services import services
from farm.claiming.pool_names import pool_names, words
from farm.jobs.errors import Forbidden, InvalidRequest, NotFound
from farm.jobs.roles import Role
from farm.jobs.tenant_limits import TenantLimits
from farm.tenants.api_keys import ApiKey
from farm.webhooks.own_secret import change_secret

#: live keys of one tenant
MOST_KEYS = 1000


def live_keys() -> Sequence[ApiKey]:
    """Those of the asker's tenant, the oldest first. Raises Forbidden."""
    require(Role.ADMIN)
    return services().tenants.api_keys.of(tenant())


def make_key(role: Role, name: str, *, ak: bool = False) -> tuple[ApiKey, str]:
    """A key and its text. Raises Forbidden for a role above the asker's."""
    require(Role.ADMIN)
    if not principal().role.covers(role):
        raise Forbidden(f"a key with the role {role} is made by one that has it", "role")
    known = services().tenants.api_keys
    if len(known.of(tenant())) >= MOST_KEYS:
        raise Forbidden(f"a tenant has {MOST_KEYS} keys at most: revoke one", "name")
    made, text = known.create(tenant(), role=role, name=name, ak=ak, by=by())
    _note("made a key", f"key {made.id}, {role}")
    return made, text


def revoke_key(key_id: str) -> None:
    """Raises Forbidden for a role above the asker's, NotFound for a key of another tenant."""
    found = next((key for key in live_keys() if key.id == key_id), None)
    if found is None:
        raise NotFound(f"no key {key_id[:64]}")
    if not principal().role.covers(found.role):
        raise Forbidden(f"a key with the role {found.role} is revoked by one that has it")
    services().tenants.api_keys.revoke(found.id, by=by())
    _note("revoked a key", f"key {found.id}, {found.role}")


def limits() -> tuple[TenantLimits, TenantLimits]:
    """Those that hold for the asker's tenant, and those that the operator grants it. Raises Forbidden."""
    require(Role.ADMIN)
    return services().tenants.own_limits.of(tenant())


def lower_limits(
    changes: Mapping[str, float | None], pools: Mapping[str, int | None]
) -> tuple[TenantLimits, TenantLimits]:
    """None: what the operator grants. Raises Forbidden for more than that, InvalidRequest, also for a cap in a pool
    that nobody has: it would keep nothing back."""
    require(Role.ADMIN)
    capped = {pool for pool, most in pools.items() if most is not None}
    if capped and (lost := capped - (there := pool_names(services().settings, services().ledger))):
        raise InvalidRequest(f"no pool {min(lost)!r}; {words(there)}", "max_running_in")
    changed = services().tenants.own_limits.lower(tenant(), changes, pools, by=by())
    names = [*changes, *(f"max_running_in {pool}" for pool in pools)]
    _note("changed limits", ", ".join(names))
    return changed


def change_webhook_secret() -> str:
    """Raises Forbidden."""
    require(Role.ADMIN)
    secret = change_secret(services().secrets, tenant())
    services().ledger.note(by(), "webhook secret changed", f"tenant {tenant()}")
    _note("changed the webhook secret", "webhooks")
    return secret


def _note(act: str, target: str) -> None:
    services().activity.note(tenant(), f"key {principal().key_id}", act, target, 0)
