"""The first tenant, `studio`, with an admin's key of its own and one for operators, made when a farm first starts.

Both are kept in the state folder's client.toml, which the command line reads, so that `wanfarm submit` just works.
"""

import contextlib

from farm.config import Settings
from farm.embedded.folder import ClientNotes, StateFolder
from farm.jobs.errors import Conflict
from farm.jobs.roles import Role
from farm.ledger.connection import connect
from farm.tenants.tenants import Tenants

TENANT = "studio"


def first_keys(settings: Settings, url: str, folder: StateFolder) -> ClientNotes:
    """Write client.toml with the gateway's address. Keys that were lost or revoked are made anew."""
    old = folder.client()
    with connect(settings.redis) as redis:
        tenants = Tenants(redis, settings)
        with contextlib.suppress(Conflict):
            tenants.create(TENANT, name="Studio")
        notes = ClientNotes(
            url=url,
            key=_working(tenants, old.key if old else None, Role.ADMIN),
            admin_key=_working(tenants, old.admin_key if old else None, Role.OPERATOR),
            tenant=TENANT,
        )
    folder.write_client(notes)
    return notes


def _working(tenants: Tenants, key: str | None, role: Role) -> str:
    principal = tenants.api_keys.authenticate(key)
    if key is not None and principal is not None and principal.role is role:
        return key
    return tenants.api_keys.create(TENANT, role=role, name="made by wanfarm up")[1]
