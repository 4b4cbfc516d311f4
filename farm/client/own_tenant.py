"""`farm.tenant` of the client: what a tenant's admin may do. Forbidden with a member's key."""

from collections.abc import Mapping
from urllib.parse import quote

from farm.client.transport import Transport
from farm.jobs.roles import Role
from farm.wire.own_tenant import KeyList, KeyView, NewKeyView, TenantView


class OwnTenant:
    """The tenant of the key, its keys and its limits."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self) -> TenantView:
        """The limits that hold, and those that the operator grants."""
        return self._transport.ask(TenantView, "GET", "/v1/tenant")

    def lower(self, **limits: float | Mapping[str, int | None] | None) -> TenantView:
        """Set limits (LimitsView) below what the operator grants; None: to that."""
        return self._transport.ask(TenantView, "POST", "/v1/tenant/limits", json=limits)

    def keys(self) -> list[KeyView]:
        """The oldest first."""
        return self._transport.ask(KeyList, "GET", "/v1/keys").data

    def make_key(self, role: Role | str = Role.MEMBER, name: str = "", *, ak: bool = False) -> NewKeyView:
        """With the role of the key that asks, or one below it. `api_key` of the answer is told once."""
        body = {"role": str(role), "name": name, "ak": ak}
        return self._transport.ask(NewKeyView, "POST", "/v1/keys", json=body)

    def revoke_key(self, key_id: str) -> None:
        """It stops working within seconds. NotFound for a key of another tenant."""
        self._transport.send("DELETE", f"/v1/keys/{quote(key_id, safe='')}")
