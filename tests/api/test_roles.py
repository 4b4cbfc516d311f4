"""What a key may do by its role: every act, in the API and in the console, within its own tenant."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from api.own.blueprint import own_api
from api.own.operations import OPERATIONS
from api.services import Services
from farm.jobs.roles import Role
from tests.api.api_parts import Caller, Hand

ADMIN = {
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys"),
    ("DELETE", "/v1/keys/<key_id>"),
    ("GET", "/v1/tenant"),
    ("POST", "/v1/tenant/limits"),
    ("GET", "/v1/webhooks/secret"),
    ("POST", "/v1/webhooks/secret"),
    ("GET", "/v1/webhooks/dead"),
    ("POST", "/v1/webhooks/<job_id>/replay"),
}
OPERATOR = {("GET", "/v1/workers"), ("GET", "/metrics"), ("GET", "/metrics/targets")}


def needed(method: str, rule: str) -> Role:
    if rule.startswith("/v1/admin/") or (method, rule) in OPERATOR:
        return Role.OPERATOR
    return Role.ADMIN if (method, rule) in ADMIN else Role.MEMBER


def acts(app: Flask) -> list[tuple[str, str]]:
    """Every method and address that asks for a key."""
    found = []
    for rule in app.url_map.iter_rules():
        asks = rule.endpoint.startswith(f"{own_api.name}.") or rule.rule.startswith("/metrics")
        found += [(method, rule.rule) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"} if asks]
    return sorted(found)


@pytest.mark.parametrize("role", Role)
def test_every_act_of_the_api_is_for_its_role(app: Flask, caller: Callable[..., Caller], role: Role) -> None:
    key, open_to = caller("alice", role=role), 0
    for method, rule in acts(app):
        if rule.endswith("/events"):
            continue  # a stream: it is a member's, as the document says
        path = re.sub(r"<[^>]+>", "nothing", rule)
        answer = key.ask(method, path, json={} if method == "POST" else None)
        assert (answer.status_code == 403) is not role.covers(needed(method, rule)), (method, rule, answer.text)
        assert answer.status_code not in (401, 500), (method, rule, answer.text)
        open_to += answer.status_code != 403
    assert open_to > 20


def test_the_document_says_so(app: Flask) -> None:
    paths = app.test_client().get("/v1/openapi.json").json["paths"]  # type: ignore[index]
    for method, rule in acts(app):
        told = paths[re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)][method.lower()]
        role = needed(method, rule)
        assert told.get("x-role", Role.MEMBER) == role, (method, rule)
        assert ("403" in told["responses"]) >= (role is not Role.MEMBER)
    assert {op.role for op in OPERATIONS.values()} == set(Role)


class TestKeys:
    def test_an_admin_makes_and_revokes_keys_of_its_tenant_alone(
        self, caller: Callable[..., Caller], parts: Services
    ) -> None:
        alice, bob = caller("alice", role="admin"), caller("bob", role="admin")
        made = alice.post("/v1/keys", json={"role": "member", "name": "render node"}).json
        assert isinstance(made, dict)
        node = Caller(alice.client, "alice", made["api_key"])
        assert node.get("/v1/jobs").status_code == 200
        assert node.get("/v1/keys").status_code == 403
        listed = alice.get("/v1/keys").json["data"]  # type: ignore[index]
        assert [(key["role"], key["name"]) for key in listed] == [("admin", ""), ("member", "render node")]
        assert "api_key" not in listed[1]
        assert bob.delete(f"/v1/keys/{made['id']}").status_code == 404
        assert [key["id"] for key in bob.get("/v1/keys").json["data"]] != [made["id"]]  # type: ignore[index]
        assert alice.delete(f"/v1/keys/{made['id']}").status_code == 204
        assert alice.delete(f"/v1/keys/{made['id']}").status_code == 404
        assert parts.tenants.api_keys.authenticate(made["api_key"]) is None
        told = [(one.act, one.target, one.before, one.after) for one in parts.ledger.operations()]
        target = f"key {made['id']} of alice"
        assert told == [("key revoked", target, "member", ""), ("key made", target, "", "member")]
        assert {one.who.split()[0] for one in parts.ledger.operations()} == {"key"}
        assert [one.act for one in parts.activity.newest("alice")] == ["revoked a key", "made a key"]

    def test_nobody_makes_or_revokes_a_role_above_its_own(self, caller: Callable[..., Caller]) -> None:
        admin, operator = caller("alice", role="admin"), caller("alice", role="operator")
        assert admin.post("/v1/keys", json={"role": "operator"}).status_code == 403
        assert admin.post("/v1/keys", json={"role": "tenant"}).status_code in (201, 422)
        keys = admin.get("/v1/keys").json["data"]  # type: ignore[index]
        above = next(key["id"] for key in keys if key["role"] == "operator")
        assert admin.delete(f"/v1/keys/{above}").status_code == 403
        assert operator.post("/v1/keys", json={"role": "operator"}).status_code == 201


class TestLimits:
    def asked(self, who: Caller, **limits: Any) -> Any:
        return who.post("/v1/tenant/limits", json=limits)

    def test_they_are_lowered_and_raised_to_what_is_granted_and_no_further(
        self, caller: Callable[..., Caller], parts: Services, hand: Hand
    ) -> None:
        alice = caller("alice", role="admin", max_open=100)
        assert self.asked(alice, max_open=101).status_code == 403
        lowered = self.asked(alice, max_open=2, max_running=3, max_running_in={"default": 1}).json
        assert (lowered["limits"]["max_open"], lowered["granted"]["max_open"]) == (2, 100)
        assert (lowered["limits"]["max_running"], lowered["granted"]["max_running"]) == (3, None)
        assert (lowered["limits"]["max_running_in"], lowered["granted"]["max_running_in"]) == ({"default": 1}, {})
        lost = self.asked(alice, max_open=1, max_running_in={"default": 2, "nopool": 3})
        assert (lost.status_code, "no pool 'nopool'; there are default" in lost.text) == (422, True)
        # it is what the scripts go by
        assert [alice.post("/v1/jobs", json={"prompt": "p"}).status_code for _ in range(3)] == [201, 201, 429]
        assert self.asked(alice, max_open=100, max_running_in={"default": None}).status_code == 200
        assert alice.post("/v1/jobs", json={"prompt": "p"}).status_code == 201
        # nothing is half done
        assert self.asked(alice, max_running=2, max_open=101).status_code == 403
        assert alice.get("/v1/tenant").json["limits"]["max_running"] == 3  # type: ignore[index]
        assert parts.tenants.own_limits.of("alice")[1].max_open == 100

    def test_the_operators_word_goes_before_the_tenants(self, caller: Callable[..., Caller], parts: Services) -> None:
        alice = caller("alice", role="admin", max_open=100)
        self.asked(alice, max_open=10)
        parts.tenants.set("alice", max_open=5)
        told = alice.get("/v1/tenant").json
        assert isinstance(told, dict)
        assert told["limits"]["max_open"] == told["granted"]["max_open"] == 5
        assert self.asked(alice, max_open=6).status_code == 403

    def test_what_the_farm_sets_for_all_is_a_grant(self, caller: Callable[..., Caller], parts: Services) -> None:
        alice = caller("alice", role="admin")
        most = parts.settings.scheduling.max_open
        assert self.asked(alice, max_open=most + 1).status_code == 403
        assert self.asked(alice, max_open=most).status_code == 200
        assert parts.settings.burst.tenant_month_usd is None or (
            self.asked(alice, external_month_usd=parts.settings.burst.tenant_month_usd + 1).status_code == 403
        )

    def test_it_is_told_with_before_and_after(self, caller: Callable[..., Caller], parts: Services) -> None:
        alice = caller("alice", role="admin", max_open=100)
        self.asked(alice, max_open=10)
        self.asked(alice, max_open=None)
        assert [(one.act, one.target, one.before, one.after) for one in parts.ledger.operations()] == [
            ("limits", "tenant alice", "max_open=10", "max_open=granted"),
            ("limits", "tenant alice", "max_open=100", "max_open=10"),
        ]
        assert alice.get("/v1/tenant").json["limits"]["max_open"] == 100  # type: ignore[index]

    @pytest.mark.parametrize(
        "body", [{"max_open": 0}, {"weight": 5}, {"max_running_in": {"a b": 1}}, {"max_open": "3"}]
    )
    def test_nonsense_is_refused(self, caller: Callable[..., Caller], body: dict[str, Any]) -> None:
        assert self.asked(caller("alice", role="admin"), **body).status_code == 422


def test_a_new_webhook_secret_signs_beside_the_last(caller: Callable[..., Caller], parts: Services) -> None:
    alice, bob = caller("alice", role="admin"), caller("bob", role="admin")
    first, other = (who.get("/v1/webhooks/secret").json["secret"] for who in (alice, bob))  # type: ignore[index]
    second = alice.post("/v1/webhooks/secret").json["secret"]  # type: ignore[index]
    assert second != first
    assert alice.get("/v1/webhooks/secret").json["secret"] == second  # type: ignore[index]
    assert bob.get("/v1/webhooks/secret").json["secret"] == other  # type: ignore[index]
    assert parts.secrets.get("alice", "webhook-before") == first
    assert [one.act for one in parts.ledger.operations()] == ["webhook secret changed"]
