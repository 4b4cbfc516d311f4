"""`wanfarm purchases` and `wanfarm spend --farm`, as an operator uses them."""

from collections.abc import Callable

import pytest

from farm.jobs.ids import new_job_id
from farm.jobs.job import Claim, NewJob
from farm.jobs.spec import JobSpec
from farm.ledger import Ledger
from tests.farm.cli.cli_farm import Wanfarm
from tests.farm.client.conftest import Gateway

Buy = Callable[..., Claim]
INTENT = {"provider": "kie", "dialect": "kie", "key": "main", "model": "wan2.2-t2v-a14b", "sold": "wan/turbo"}


@pytest.fixture
def ledger(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    with gateway.client(role="operator") as operator:
        monkeypatch.setenv("WANFARM_API_KEY", operator.key)
    return gateway.parts.ledger


@pytest.fixture
def buy(ledger: Ledger) -> Buy:
    """Buys a new job under this name; `left`: which then left its purchase, of which nothing is known."""

    def make(nonce: str, *, left: bool = True) -> Claim:
        spec = JobSpec("wan2.2-t2v-a14b", "t2v", "a fox", "", 832, 480, 81, 16, 40, 4.0, 3.0, 12.0, 7)
        job = NewJob(new_job_id(), "studio", spec, "gpu", "lane", 10.0, 100.0)
        ledger.admit([job])
        claim = ledger.buy(job.id, "burst", nonce, INTENT, price=200_000)
        assert isinstance(claim, Claim)
        if left:
            ledger.unbuy(job.id, claim.attempt, nonce, None)
        return claim

    return make


def test_an_operator_settles_what_no_job_waits_for(wanfarm: Wanfarm, buy: Buy, ledger: Ledger) -> None:
    job_id = buy("p1").job.id
    for nonce in ("p2", "p3"):
        buy(nonce)
    buy("p4", left=False)
    assert [one["purchase"] for one in wanfarm("purchases", "list", "--json").document] == ["p1", "p2", "p3", "p4"]
    rows = wanfarm("purchases", "list", "--which", "left").ok().out.splitlines()
    assert [line.split()[0] for line in rows[1:]] == ["p1", "p2", "p3"]
    assert job_id in rows[1]
    why = ("--why", "its log says it")
    assert "settled" in wanfarm("purchases", "settle", "p1", "--arrived-as", "task-1", *why).ok().err
    wanfarm("purchases", "settle", "p2", "--never-arrived", *why).ok()
    assert wanfarm("purchases", "settle", "p3", "--cost", "0.15", *why, "--json").document == {"changed": True}
    assert [one.nonce for one in ledger.open_purchases()] == ["p1", "p4"]
    found = {one["purchase"]: one for one in wanfarm("purchases", "list", "--which", "all", "--json").document}
    assert (found["p1"]["id"], found["p1"]["follows"]) == ("task-1", True)
    assert (found["p2"]["ending"], found["p2"]["cost_usd"]) == ("never_arrived", 0.0)
    assert (found["p3"]["ending"], found["p3"]["cost_usd"], found["p3"]["payer"]) == ("delivered", 0.15, "overhead")
    (sum_,) = wanfarm("spend", "--farm", "--by", "provider", "--json").document["data"]
    assert (sum_["wasted_usd"], sum_["held_usd"]) == (0.15, 0.4)
    acts = [line.split() for line in wanfarm("admin", "log").ok().out.splitlines() if "settle" in line]
    assert len(acts) == 3


def test_what_cannot_be_so_is_refused_in_words(wanfarm: Wanfarm, buy: Buy) -> None:
    buy("p1")
    why = ("--why", "its log says it")
    assert wanfarm("purchases", "settle", "p1", *why).code == 2
    assert wanfarm("purchases", "settle", "p1", "--never-arrived", "--cost", "1", *why).code == 2
    assert wanfarm("purchases", "settle", "p9", "--never-arrived", *why).code != 0
    wanfarm("purchases", "settle", "p1", "--arrived-as", "task-1", *why).ok()
    assert "known already" in wanfarm("purchases", "settle", "p1", "--arrived-as", "task-1", *why).ok().err
    other = wanfarm("purchases", "settle", "p1", "--arrived-as", "task-2", *why)
    assert (other.code != 0, "calls it task-1 already" in other.err) == (True, True), other
