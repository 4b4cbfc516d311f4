"""The law of buying: charges that providers counted = purchases that the farm settled, no job charged twice, no cap
exceeded, none lost; while processes of the farm are killed at random moments and providers do what they can to confuse
it. What the providers' books say is the truth here: they are kept by nobody whom this test kills."""

import random
import socket
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from killed_farm import FAULTS, KEY_ENV, TENANTS, Killed, killed_farm, new_jobs, wait_for, written
from prometheus_client import CollectorRegistry
from redis import Redis
from settling_operator import Operator, operator_key

from farm.config import Settings
from farm.exporter.collector import FarmCollector
from farm.jobs.job import Artifacts, Job
from farm.jobs.purchase import Payer, Purchase, PurchaseEnding, PurchaseState
from farm.jobs.states import State
from farm.ledger import Ledger
from farm.ledger.connection import connect
from farm.storage.store import Store
from tests.farm.ledger.ledger_parts import audit
from tests.simulators import KEY, Simulated, simulated

_MONTH = time.strftime("%Y-%m", time.gmtime())
_DIALECTS = ("kie", "apixo", "crun", "wiro", "selfhosted")
_OURS = Artifacts("v.mp4", "p.jpg", "r.json", 1234, "ab" * 32, 832, 480, 81, 16.0, 5.06)


class Books:
    """Both sides' accounts."""

    def __init__(self, ledger: Ledger, sellers: dict[str, Simulated]) -> None:
        self.ledger, self._sellers = ledger, sellers

    def tasks(self) -> list[dict[str, Any]]:
        """Everything that providers accepted; `micro`: what it is charged, in millionths of a dollar."""
        found = []
        for name, seller in self._sellers.items():
            for task in seller.ledger()["charged"]:
                told = task["callback_url"]
                nonce = told.rsplit("/", 1)[1] if told else None
                found.append(task | {"provider": name, "nonce": nonce, "micro": round(task["usd"] * 1e6)})
        return found

    def purchases(self) -> list[Purchase]:
        return self.ledger.purchases(0, 1 << 52)

    def by_purchase(self, jobs: dict[str, Job]) -> dict[str, list[dict[str, Any]]]:
        """Nonce -> the tasks that came of it. A self-hosted server has no callbacks: there the prompt tells."""
        of: dict[str, list[dict[str, Any]]] = defaultdict(list)
        asked = {(one.provider, jobs[one.job].spec.prompt): one.nonce for one in self.purchases()
                 if one.ending not in (PurchaseEnding.NOT_SENT, PurchaseEnding.TURNED_AWAY)}  # fmt: skip
        for task in self.tasks():
            of[task["nonce"] or asked[task["provider"], task["prompt"]]].append(task)
        return of


def unreconciled(config: Path) -> float | None:
    """What the exporter shows of a farm with these settings."""
    settings, registry = Settings(**tomllib.loads(config.read_text())), CollectorRegistry()
    registry.register(FarmCollector(connect(settings.redis), settings))
    return registry.get_sample_value("wanfarm_purchases_unreconciled")


@pytest.fixture
def sellers(tmp_path: Path) -> Iterator[dict[str, Simulated]]:
    with simulated(tmp_path / "sellers", *_DIALECTS) as running:
        for one in running.values():
            one.settings(size=[64, 48], frames=5, queue_s=0.3, render_s=0.7, oversized_bytes=3_000_000)
            one.faults(*FAULTS)
        yield running


@pytest.fixture
def law(settings: Settings, sellers: dict[str, Simulated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv(KEY_ENV, KEY)
    Store(settings.s3).ensure_bucket()
    ledger = Ledger(connect(settings.redis), settings)

    def run(count: int, kills: int, every_s: tuple[float, float], patience_s: float, rate_per_s: float) -> None:
        jobs = new_jobs(count)
        # so low that not everything can be bought
        cap_usd = 0.09 * count
        with socket.create_server(("127.0.0.1", 0), backlog=512) as door:
            url = f"http://127.0.0.1:{door.getsockname()[1]}"
            config = written(
                settings, sellers, tmp_path, url, rate_per_s,
                farm_day_usd=cap_usd, farm_month_usd=cap_usd, tenant_day_usd=cap_usd * 0.6,
            )  # fmt: skip
            ids = [one.id for one in ledger.admit(jobs)[0]]
            books = Books(ledger, sellers)

            def page() -> dict[str, str]:
                return {nonce: tasks[0]["id"] for nonce, tasks in books.by_purchase(_found(ledger, ids)).items()}

            with killed_farm(config, door) as farm, Operator(url, operator_key(settings), page) as operator:
                _chaos(farm, ledger, ids, kills, every_s, cap_usd)
                _settle(farm, books, operator, ids, patience_s)
                _held_to_account(books, ids, cap_usd)
                # nor does the ledger's own audit find anything to mend
                assert audit(ledger) == {}
                assert unreconciled(config) == 0
                assert farm.kills == kills
                commands = farm.commands()
        assert sum(b"farm.cli" in one for one in commands) >= 2
        with Redis.from_url(settings.redis.ledger_url) as raw:
            # some end between the two calls
            kept = [raw.dump(key) or b"" for key in raw.scan_iter(count=1000)]
        assert len(kept) > count
        for text in (*commands, *kept, farm.log.read_bytes(), config.read_bytes()):
            assert KEY.encode() not in text

    return run


def _found(ledger: Ledger, ids: list[str]) -> dict[str, Job]:
    found = {job_id: ledger.find(job_id) for job_id in ids}
    assert None not in found.values()
    return found  # type: ignore[return-value]


def _chaos(
    farm: Killed, ledger: Ledger, ids: list[str], kills: int, every_s: tuple[float, float], cap_usd: float
) -> None:
    """Kill at random moments while there is something under way; look at the caps all the time."""
    dice = random.Random(len(ids))
    wait_for(lambda: any(one.id for one in ledger.open_purchases()), 60, lambda: farm.log.read_text()[-3000:], 0.05)
    for _ in range(kills):
        until = time.monotonic() + dice.uniform(*every_s)
        while time.monotonic() < until:
            _within_caps(ledger, cap_usd)
            time.sleep(0.02)
        farm.kill_some(dice)


def _within_caps(ledger: Ledger, cap_usd: float) -> None:
    assert sum(ledger.external_spend("farm", _MONTH)) <= cap_usd * 1e6
    day = time.strftime("%Y-%m-%d", time.gmtime())
    for tenant in TENANTS:
        assert sum(ledger.external_spend(f"tenant {tenant}", day)) <= cap_usd * 0.6e6


def _settle(farm: Killed, books: Books, operator: Operator, ids: list[str], patience_s: float) -> None:
    """Until nothing is bought any more: what is left is rendered here, and an operator settles what nobody can tell."""
    ledger = books.ledger

    def still() -> Counter[str]:
        jobs = _found(ledger, ids)
        said = {job.id: ledger.decision(job.id) or {} for job in jobs.values() if job.state is State.QUEUED}
        idle = sum(one.get("verdict") in ("stays", "waits") for one in said.values())
        return Counter(job.state for job in jobs.values()) | Counter({"undecided": len(said) - idle})

    wait_for(lambda: still()[State.RUNNING] == 0 and still()["undecided"] == 0, patience_s,
             lambda: f"{still()} {farm.log.read_text()[-3000:]}")  # fmt: skip

    def rendered() -> bool:
        while (claim := ledger.claim("gpu", "a GPU of ours")) is not None:
            ledger.commit(claim.job.id, claim.attempt, _OURS, gpu_s=1.0)
        return all(job.state is State.SUCCEEDED for job in _found(ledger, ids).values())

    wait_for(rendered, patience_s, lambda: f"{still()} {farm.log.read_text()[-3000:]}")
    # callbacks and lists have told what they can: the rest is an operator's, who looks at the providers' pages
    wait_for(lambda: all(one.id is None for one in ledger.open_purchases()), patience_s,
             lambda: f"{ledger.open_purchases()} {farm.log.read_text()[-3000:]}")  # fmt: skip
    assert unreconciled(farm.config) == len(ledger.open_purchases())
    operator.settle()
    wait_for(lambda: not ledger.open_purchases(), patience_s, lambda: f"{ledger.open_purchases()}")


def _held_to_account(books: Books, ids: list[str], cap_usd: float) -> None:
    ledger, jobs = books.ledger, _found(books.ledger, ids)
    # none lost
    assert Counter(job.state for job in jobs.values()) == {State.SUCCEEDED: len(ids)}
    purchases, came = {one.nonce: one for one in books.purchases()}, books.by_purchase(jobs)
    # every order that a provider took was one that the farm had written down, and was sent once
    assert set(came) <= set(purchases)
    assert {nonce: len(tasks) for nonce, tasks in came.items() if len(tasks) > 1} == {}
    # what providers charged is what the farm settled, purchase by purchase
    charged = {nonce: tasks[0]["micro"] for nonce, tasks in came.items()}
    assert {one.state for one in purchases.values()} == {PurchaseState.CLOSED}
    differs = {
        nonce: (one.provider, one.ending, one.cost, charged.get(nonce, 0))
        for nonce, one in purchases.items()
        if one.cost != charged.get(nonce, 0)
    }
    assert differs == {}
    assert ledger.external_spend("farm", _MONTH) == (0, sum(charged.values()))
    paid = [ledger.external_spend(scope, _MONTH)[1] for scope in ("overhead", *(f"tenant {one}" for one in TENANTS))]
    assert sum(paid) == sum(charged.values())
    # no job is paid for twice, whoever pays, and no tenant for what it did not get
    bought = Counter(one.job for one in purchases.values() if one.cost)
    assert {job: count for job, count in bought.items() if count > 1} == {}
    for one in purchases.values():
        if one.payer is Payer.TENANT and one.cost:
            assert jobs[one.job].artifacts != _OURS, one
    _within_caps(ledger, cap_usd)
    # and it was no idle run
    assert len(came) > len(ids) / 4
    assert sum(charged.values()) > 0


@pytest.mark.timeout(600)
def test_what_providers_charged_is_what_was_settled_whoever_is_killed(law: Callable[..., None]) -> None:
    law(count=15, kills=2, every_s=(0.2, 1.0), patience_s=120, rate_per_s=8.0)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_thousand_jobs_and_a_kill_every_second(law: Callable[..., None]) -> None:
    law(count=1000, kills=120, every_s=(0.2, 2.0), patience_s=1200, rate_per_s=2.0)
