"""Money against the provider's own account: what is gone there is what purchases explain, or is told."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from burst_parts import (
    KEY,
    KEY_ENV,
    TENANT,
    BuyingFarm,
    animate_job,
    buying_from,
    mishap,
    new_job,
    provider,
    simulated,
)
from prometheus_client import CollectorRegistry
from redis import Redis

from farm.config import Settings
from farm.exporter.collector import FarmCollector
from farm.jobs.job import NewJob
from farm.jobs.states import State
from farm.storage.store import Store
from tests.conftest import wait_until
from tools.provider_simulator.simulator import Simulator

#: every dialect that tells a balance -> a job that it sells something for, and what that costs, dollars
BALANCED: dict[str, tuple[Callable[[str], NewJob], float]] = {
    "kie": (new_job, 0.2),
    "apixo": (animate_job, 0.2),
    "crun": (animate_job, 0.15),
}


@contextmanager
def buying(dialect: str, settings: Settings, folder: Path, **burst: Any) -> Iterator[tuple[BuyingFarm, Simulator]]:
    Store(settings.s3).ensure_bucket()
    with simulated(dialect, folder) as seller:
        eager = {"balances_every_s": 0.1, "unknown_after_s": 0.5} | burst
        with BuyingFarm(buying_from(settings, {dialect: provider(seller)}, **eager)) as here:
            yield here, seller


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)


@pytest.mark.parametrize("dialect", BALANCED)
def test_what_is_gone_from_an_account_is_explained_or_told(
    dialect: str, settings: Settings, redis: Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "farm.burst")
    order, price = BALANCED[dialect]
    with buying(dialect, settings, tmp_path) as (here, seller):

        def shown(name: str, **labels: str) -> float | None:
            registry = CollectorRegistry()
            registry.register(FarmCollector(redis, here.settings))
            return registry.get_sample_value(f"wanfarm_{name}", labels)

        def account(name: str) -> float | None:
            return shown(f"provider_{name}", provider=dialect, account="main")

        def left() -> float:
            return float(seller.ledger()["balance"]) * seller.dialect.unit_usd

        def seen() -> bool:
            return account("balance_usd") == pytest.approx(left())

        wait_until(seen, what="the first look")
        # what was bought explains it
        (first,) = here.admit(order("one"))
        assert here.until_over(first).state is State.SUCCEEDED
        wait_until(seen, what="the account after a purchase")
        assert (account("spent_usd_total"), account("unexplained_usd")) == (pytest.approx(price), 0.0)
        # an order of which nothing is known: its price is held, so its charge is no surprise, but it is an operator's
        seller.faults.set([mishap("create", "drop", times=1)])
        (second,) = here.admit(order("two"))
        wait_until(lambda: shown("purchases_unreconciled") == 1.0, what="an unreconciled purchase")
        wait_until(seen, what="the account after the charge")
        assert (account("held_usd"), account("unexplained_usd")) == (pytest.approx(price), 0.0)
        came = seller.ledger()["charged"][-1]["id"]
        here.ledger.bought(here.purchase(second).nonce, came, who="ada", why="on its page")
        assert here.until_over(second).state is State.SUCCEEDED
        wait_until(lambda: shown("purchases_unreconciled") == 0.0, what="its settlement")
        assert (account("held_usd"), account("unexplained_usd")) == (0.0, 0.0)
        # one order taken twice: the other half is nobody's purchase
        seller.faults.set([mishap("create", "twice", times=1)])
        (third,) = here.admit(order("three"))
        assert here.until_over(third).state is State.SUCCEEDED
        wait_until(lambda: account("unexplained_usd") == pytest.approx(price), what="the difference")
        assert f"{dialect}/main has {price:.4f} dollars less than the purchases explain" in caplog.text
        assert here.spent(f"tenant {TENANT}") == (0, round(3 * price * 1e6))
        # an operator writes it off, in two parts and no more than there is: the farm pays, and the next look finds none
        micro = round(price * 1e6)
        off = [here.ledger.write_off(dialect, "main", most, who="ada", why="taken twice") for most in (1, None, None)]
        assert off == [1, micro - 1, 0]
        looked = redis.hget("wf:account:" + dialect + ":main", "balance_ms")
        wait_until(lambda: redis.hget("wf:account:" + dialect + ":main", "balance_ms") != looked, what="the next look")
        assert account("unexplained_usd") == 0.0
        assert account("spent_usd_total") == pytest.approx(4 * price)
        assert here.spent("overhead") == (0, micro)
        assert here.spent(f"tenant {TENANT}") == (0, 3 * micro)
        acts = [(one.act, one.target, one.before, one.after) for one in here.ledger.operations(limit=3)]
        assert ("write_off", f"account {dialect}/main", str(micro - 1), "0") in acts


def test_a_provider_s_own_estimate_goes_before_a_price_of_the_settings_that_is_too_low(
    settings: Settings, tmp_path: Path
) -> None:
    """crun is asked what the very order will cost: so much is held, and a cap that does not hold it refuses."""
    with buying("crun", settings, tmp_path, tenant_day_usd=0.4) as (here, crun):
        crun.knobs.price_factor = 2.0
        first, second = here.admit(animate_job("one"), animate_job("two"))
        said = here.ledger.decision

        def over_cap(job_id: str) -> bool:
            return "are left of the day's 0.4 of tenant acme" in (said(job_id) or {}).get("why", "")

        wait_until(lambda: over_cap(first) or over_cap(second), what="a cap")
        bought = first if over_cap(second) else second
        assert here.until_over(bought).state is State.SUCCEEDED
        purchase = here.purchase(bought)
        assert (purchase.price, purchase.cost) == (300_000, 300_000)
        assert crun.ledger()["submits"] == 1
        assert here.spent() == (0, 300_000)
