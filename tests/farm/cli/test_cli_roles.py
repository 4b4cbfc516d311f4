"""A tenant's admin, from the command line: keys and limits of its own tenant."""

import pytest

from tests.farm.cli.cli_farm import Wanfarm
from tests.farm.client.conftest import Gateway


def test_an_admin_sees_to_keys_and_limits(wanfarm: Wanfarm, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wanfarm("keys", "list").code == 4
    with gateway.client(role="admin") as admin:
        monkeypatch.setenv("WANFARM_API_KEY", admin.key)
    made = wanfarm("keys", "create", "--name", "node", "--json").document
    assert made["key"]["role"] == "member"
    assert gateway.parts.tenants.api_keys.authenticate(made["api_key"]) is not None
    assert wanfarm("keys", "create", "--role", "operator").code == 4
    assert made["key"]["id"] in wanfarm("keys", "list").ok().out
    wanfarm("keys", "revoke", made["key"]["id"], "--own").ok()
    assert gateway.parts.tenants.api_keys.authenticate(made["api_key"]) is None
    gateway.parts.tenants.set("studio", max_open=50)
    wanfarm("tenants", "set", "--max-open", "20", "--max-running-in", "default=2").ok()
    told = wanfarm("tenants", "show", "--json").document
    assert (told["limits"]["max_open"], told["granted"]["max_open"]) == (20, 50)
    assert told["limits"]["max_running_in"] == {"default": 2}
    assert wanfarm("tenants", "set", "--max-open", "51").code == 4
    assert wanfarm("tenants", "set", "--weight", "9").code == 2
    wanfarm("tenants", "set", "--no-limits").ok()
    assert "50" in wanfarm("tenants", "show").ok().out
    assert gateway.parts.tenants.own_limits.of("studio")[0].max_open == 50


def test_an_operator_reads_why_jobs_were_bought_or_not(
    wanfarm: Wanfarm, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"verdict": "parked", "why": "kie: credit until noon", "numbers": {"start_s": 95.0}, "provider": "kie"}
    gateway.parts.ledger.note_decision("01990000-0000-7000-8000-000000000001", told)
    assert wanfarm("admin", "decisions").code == 4
    with gateway.client(role="operator") as operator:
        monkeypatch.setenv("WANFARM_API_KEY", operator.key)
    assert "kie: credit until noon" in wanfarm("admin", "decisions").ok().out
    [one] = wanfarm("admin", "decisions", "-n", "1", "--json").document
    assert (one["verdict"], one["tenant"], one["numbers"]) == ("parked", None, {"start_s": 95.0})
