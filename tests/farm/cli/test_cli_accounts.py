"""`wanfarm credits` and `wanfarm webhooks` on a real Redis."""

from pathlib import Path

import pytest
from redis import Redis

from farm.config import RedisSettings, Settings
from farm.ledger import Ledger
from farm.tenants import vault
from farm.tenants.vault import Vault
from farm.webhooks import signing
from farm.webhooks.deliveries import Deliveries
from tests.farm.cli.cli_run import run


@pytest.fixture
def farm(redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings of a farm whose tenant is acme, as the command finds them."""
    monkeypatch.setenv("WANFARM_REDIS__LEDGER_URL", redis_settings.ledger_url)
    monkeypatch.setenv("WANFARM_STATE_DIR", str(tmp_path / "state"))
    run("tenants", "create", "acme").ok()
    return Settings(state_dir=tmp_path / "state", redis=redis_settings)


@pytest.mark.usefixtures("farm")
def test_credits() -> None:
    assert "no account" in run("credits", "show", "acme").ok().out
    booked = run("credits", "topup", "acme", "12.5", "--note", "first", "--reference", "inv-1", "--json").document
    assert booked["account"] == {"balance": 12.5, "held": 0.0, "available": 12.5}
    run("credits", "topup", "acme", "12.5", "--reference", "inv-1").ok()
    assert run("credits", "show", "acme").ok().out == "acme: 12.5 credits, 0 of them held, 12.5 free\n"
    (line,) = run("credits", "statement", "acme", "--json").document
    assert (line["kind"], line["amount"], line["note"]) == ("topup", 12.5, "first")
    assert "topup" in run("credits", "statement", "acme").ok().out
    assert run("credits", "statement", "acme", "--after", line["id"], "--json").document == []
    assert run("credits", "topup", "acme", "--", "-99").code == 4
    assert run("credits", "topup", "acne", "5").code == 4
    assert run("credits", "topup", "acme", "0").code == 2


def test_a_top_up_is_a_line_of_the_log_of_operators(farm: Settings, redis: Redis) -> None:
    for amount, note, reference in (("12.5", "invoice 7", "inv-7"), ("12.5", "again", "inv-7"), ("-2.25", "", "inv-8")):
        run("credits", "topup", "acme", "--note", note, "--reference", reference, "--", amount).ok()
    assert run("credits", "topup", "acme", "--", "-99").code == 4
    lines = Ledger(redis, farm).operations()
    assert [(line.act, line.target, line.why, line.before, line.after) for line in lines if line.act == "topup"] == [
        ("topup", "tenant acme", "", "12.5 credits", "10.25 credits"),
        ("topup", "tenant acme", "invoice 7", "no account", "12.5 credits"),
    ]
    assert all(line.who.startswith("shell ") for line in lines)


def test_dead_letters_are_listed_and_replayed(farm: Settings, redis: Redis) -> None:
    deliveries = Deliveries(redis, farm)
    for n in range(3):
        deliveries.schedule(f"msg_{n}", job="j", tenant="acme", url="https://x/y", dialect="kie", receiver="acme|x")
    listed = run("webhooks", "pending", "--json").document
    assert [one["id"] for one in listed] == ["msg_0", "msg_1", "msg_2"]
    for taken in deliveries.take(3, suspects=3, lease_s=60):
        deliveries.bury(taken.id, status=500, error="the receiver answered 500")
    out = run("webhooks", "dead", "acme").ok().out
    assert "msg_1" in out
    assert "the receiver answered 500" in out
    run("webhooks", "replay", "acme", "msg_1").ok()
    assert run("webhooks", "replay", "acme", "msg_1").code == 4
    assert run("webhooks", "replay", "acme").code == 2
    assert run("webhooks", "replay", "acme", "--all", "--json").document["replayed"] == ["msg_2", "msg_0"]
    assert run("webhooks", "dead", "acme", "--json").document == []
    assert len(run("webhooks", "pending", "--json").document) == 3
    told = [(line.act, line.target, line.after) for line in Ledger(redis, farm).operations()]
    assert told[:2] == [("webhooks replayed", "tenant acme", f"{sent} sent again") for sent in (2, 1)]


def test_secrets(farm: Settings, redis: Redis) -> None:
    first = run("webhooks", "secret", "acme").ok().out.strip()
    assert len(signing.key_of(first)) == 32
    assert run("webhooks", "secret", "acme").ok().out.strip() == first
    second = run("webhooks", "secret", "acme", "--rotate", "--json").document["secret"]
    assert second != first
    kept = Vault(redis, farm)
    assert [kept.get("acme", name) for name in (vault.WEBHOOK, vault.WEBHOOK_BEFORE)] == [second, first]
    run("webhooks", "secret", "acme", "--retire").ok()
    assert Vault(redis, farm).get("acme", vault.WEBHOOK_BEFORE) is None
    assert run("webhooks", "callback-key", "kie", "acme", "--set", "hmac").ok().out == "hmac\n"
    assert run("webhooks", "callback-key", "kie", "acme", "--remove").ok().out == "none is set\n"
    assert run("webhooks", "callback-key", "crun", "acme").code == 2
    run("webhooks", "signing-secret", "acme", "abcd1234", "--set", "s3cret").ok()
    assert Vault(redis, farm).get("acme", vault.signing("abcd1234")) == "s3cret"
    assert run("webhooks", "secret", "nobody").code == 4
    told = [line.act for line in Ledger(redis, farm).operations()][:5]
    assert told == ["secret set", "secret removed", "secret set", "webhook secret retired", "webhook secret changed"]
