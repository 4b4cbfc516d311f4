"""`wanfarm providers` against simulated providers: keys are proved without an order, and shown nowhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.config import RedisSettings, Settings
from farm.embedded.ports import free_port
from farm.ledger import Ledger, connect
from tests.farm.cli.cli_run import run
from tests.simulators import KEY, Simulated, simulated

DIALECTS = ("kie", "apixo", "crun", "wiro", "selfhosted", "openai")
#: these tell what is left
BALANCES = {"kie", "apixo", "crun"}


@pytest.fixture(scope="module")
def sellers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Simulated]]:
    with simulated(tmp_path_factory.mktemp("sellers"), *DIALECTS) as running:
        yield running


@pytest.fixture
def configured(
    sellers: dict[str, Simulated], redis_settings: RedisSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A provider of each dialect with a good key and a wrong one, and one where nobody listens."""
    wrong = tmp_path / "wrong"
    wrong.write_text("a-wrong-key\n")
    monkeypatch.setenv("GOOD_KEY", KEY)
    lines = []
    addresses = {name: one.address for name, one in sellers.items()} | {"away": f"http://127.0.0.1:{free_port()}"}
    for name, address in addresses.items():
        lines += [
            f"[providers.{name}]",
            f'dialect = "{name if name in sellers else "kie"}"',
            f'base_url = "{address}"',
            "unit_usd = 0.005",
            'keys.good = { env = "GOOD_KEY" }',
            f'keys.wrong = {{ file = "{wrong}" }}',
            'keys.lost = { env = "NOWHERE" }',
        ]
        lines += [] if name != "apixo" else ['models."wan-2-2-animate".per_second = { "480p" = 0.04 }']
    settings = tmp_path / "farm.toml"
    settings.write_text("\n".join(lines))
    monkeypatch.setenv("WANFARM_CONFIG", str(settings))
    monkeypatch.setenv("WANFARM_REDIS__LEDGER_URL", redis_settings.ledger_url)
    monkeypatch.setenv("WANFARM_STATE_DIR", str(tmp_path / "state"))


@pytest.mark.usefixtures("configured")
def test_keys_are_proved_without_spending(sellers: dict[str, Simulated]) -> None:
    before = {name: one.ledger() for name, one in sellers.items()}
    ran = run("providers", "check", "--json")
    assert ran.code == 1
    assert {name: one.ledger() for name, one in sellers.items()} == before
    said = run("providers", "check", *DIALECTS)
    for name in DIALECTS:
        rows = {line.split()[1]: line for line in said.out.splitlines() if line.startswith(f"{name} ")}
        assert "yes" in rows["good"], rows
        assert "NO" in rows["wrong"]
        assert "no key for" in rows["lost"]
    assert "not reached" in run("providers", "check", "away").out
    for text in (ran.out, ran.err, said.out, said.err):
        assert KEY not in text
        assert "a-wrong-key" not in text
    assert run("providers", "check", "acme").code == 4


@pytest.mark.usefixtures("configured")
def test_balances(sellers: dict[str, Simulated]) -> None:
    for one in sellers.values():
        one.settings(balance=1500)
    ran = run("providers", "balance", *DIALECTS)
    for name in DIALECTS:
        (row,) = [line for line in ran.out.splitlines() if line.startswith(f"{name} ") and " good " in line]
        assert ("1,500.00" in row and "7.50" in row) == (name in BALANCES), row
        assert ("does not tell it" in row) == (name not in BALANCES)


@pytest.mark.usefixtures("configured")
def test_what_is_sold_stands_with_its_class_its_price_and_its_source() -> None:
    (row,) = run("providers", "list", "--models", "--json").document
    assert (row["provider"], row["model"]["replaces"]) == ("apixo", {"wan2.2-animate-14b": "same_weights"})
    shown = " ".join(run("providers", "list", "--models").ok().out.split())
    assert "480p 0.04" in shown
    assert "same_weights" in shown


@pytest.mark.usefixtures("configured")
def test_a_provider_is_paused_and_resumed() -> None:
    def now(name: str) -> str:
        return next(line for line in run("providers", "list").ok().out.splitlines() if line.startswith(name))

    assert now("kie").rstrip().endswith("ready")
    assert run("providers", "pause", "kie").code == 2
    run("providers", "pause", "kie", "--why", "they lost our clips").ok()
    assert "paused by an operator" in now("kie")
    assert "ready" in now("wiro")
    assert run("providers", "pause", "kie", "--why", "again", "--json").document == {"changed": False}
    run("providers", "resume", "kie", "--why", "found them").ok()
    assert "ready" in now("kie")
    assert run("providers", "pause", "acme", "--why", "who?").code == 4


@pytest.mark.usefixtures("configured")
def test_what_no_purchase_explains_is_written_off(redis_settings: RedisSettings) -> None:
    with connect(redis_settings) as redis:
        ledger = Ledger(redis, Settings(redis=redis_settings))
        ledger.balance_seen("kie", "good", 7_000_000)
        assert ledger.balance_seen("kie", "good", 6_400_000) == 600_000
        off = run("providers", "write-off", "kie", "good", "--usd", "0.2", "--why", "taken twice")
        assert "0.2000 dollars" in off.ok().err
        assert ledger.balance_seen("kie", "good", 6_400_000) == 400_000
        run("providers", "write-off", "kie", "good", "--why", "the rest").ok()
        assert ledger.balance_seen("kie", "good", 6_400_000) == 0
    again = run("providers", "write-off", "kie", "good", "--why", "again", "--json")
    assert again.document == {"written_off_usd": 0.0}
    assert run("providers", "write-off", "kie", "bad", "--why", "?").code == 4
    assert run("providers", "write-off", "kie", "good").code == 2
