"""Spend and purchases over HTTP: each tenant its own, an operator everybody's."""

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

from farm.jobs.ids import new_job_id
from farm.jobs.job import Artifacts, Claim, NewJob
from farm.jobs.purchase import Payer, PurchaseEnding
from farm.jobs.spec import JobSpec
from farm.ledger import Ledger
from tests.api.api_parts import Caller

Make = Callable[..., Caller]
INTENT = {"provider": "kie", "dialect": "kie", "key": "main", "model": "wan2.2-t2v-a14b", "sold": "wan/turbo"}
FILES = Artifacts("v", "p", "r", 1, "ab" * 32, 64, 64, 5, 16.0, 0.3)


def admitted(ledger: Ledger, tenant: str, label: str | None = None, hold: int | None = None) -> str:
    spec = JobSpec("wan2.2-t2v-a14b", "t2v", "a fox", "", 832, 480, 81, 16, 40, 4.0, 3.0, 12.0, 7)
    job = NewJob(new_job_id(), tenant, spec, "gpu", "lane", 10.0, 100.0, label=label, hold=hold)
    ledger.admit([job])
    return job.id


def bought(ledger: Ledger, job_id: str, nonce: str, price: int = 200_000) -> Claim:
    claim = ledger.buy(job_id, "burst", nonce, INTENT, price=price)
    assert isinstance(claim, Claim)
    return claim


@pytest.fixture
def spent(ledger: Ledger, caller: Make) -> tuple[Caller, Caller]:
    """alice: one job rendered here, one bought, one purchase that failed, one wasted, one open; bob: one bought."""
    alice, bob = caller("alice"), caller("bob")
    admitted(ledger, "alice", "here")
    claim = ledger.claim("gpu", "w")
    assert claim is not None
    ledger.commit(claim.job.id, claim.attempt, FILES, gpu_s=5.0)
    for tenant, nonce in (("alice", "a1"), ("bob", "b1")):
        claim = bought(ledger, admitted(ledger, tenant, "=shot"), nonce)
        ledger.close_purchase(nonce, PurchaseEnding.DELIVERED, 190_000)
        ledger.commit(claim.job.id, claim.attempt, FILES, gpu_s=0.0)
    claim = bought(ledger, admitted(ledger, "alice", "=shot"), "a2")
    ledger.unbuy(claim.job.id, claim.attempt, "a2", PurchaseEnding.FAILED, 50_000)
    bought(ledger, claim.job.id, "a3")
    ledger.close_purchase("a3", PurchaseEnding.DELIVERED, 70_000, Payer.OVERHEAD)
    bought(ledger, admitted(ledger, "alice", "open"), "a4", 30_000)
    return alice, bob


def rows(answer: Any) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return {line.pop("name"): line for line in answer.json["data"]}


def test_a_tenant_sees_what_it_spent_and_nothing_of_another_s(spent: tuple[Caller, Caller]) -> None:
    alice, bob = spent
    found = rows(alice.get("/v1/usage/spend?by=label"))
    assert set(found) == {"here", "=shot", "open"}
    assert (found["here"]["jobs_here"], found["here"]["bought_usd"]) == (1, 0.0)
    shot = found["=shot"]
    assert (shot["jobs_bought"], shot["bought_usd"], shot["failed_usd"], shot["wasted_usd"]) == (1, 0.19, 0.05, 0.07)
    assert found["open"]["held_usd"] == 0.03
    assert rows(alice.get("/v1/usage/spend?by=provider"))["kie"]["bought_usd"] == 0.19
    assert set(rows(bob.get("/v1/usage/spend?by=tenant"))) == {"bob"}
    assert rows(bob.get("/v1/usage/spend?first_day=2020-01-01&last_day=2020-02-01")) == {}
    turned = bob.get("/v1/usage/spend?first_day=2020-02-01&last_day=2020-01-01")
    assert (turned.status_code, "400 days up to last_day" in turned.json["detail"]) == (422, True)


def test_a_spreadsheet_takes_no_label_for_a_formula(spent: tuple[Caller, Caller]) -> None:
    alice, _ = spent
    answer = alice.get("/v1/usage/spend?by=label&format=csv")
    assert answer.mimetype == "text/csv"
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert {line["name"] for line in lines} == {"here", "'=shot", "open"}


def test_an_operator_sees_the_farm_and_settles_what_nobody_knows(
    spent: tuple[Caller, Caller], caller: Make, ledger: Ledger
) -> None:
    alice, _ = spent
    op = caller("ops", role="operator")
    assert set(rows(op.get("/v1/admin/spend?by=tenant"))) == {"alice", "bob"}
    for path in ("/v1/admin/spend", "/v1/admin/purchases"):
        assert alice.get(path).status_code == 403
    (one,) = op.get("/v1/admin/purchases?which=open").json["data"]
    assert (one["purchase"], one["key"], one["follows"], one["id"]) == ("a4", "main", True, None)
    assert alice.post("/v1/admin/purchases/a4/settle", json={"cost_usd": 0, "why": "x"}).status_code == 403
    assert op.post("/v1/admin/purchases/a4/settle", json={"why": "x"}).status_code == 422
    assert op.post("/v1/admin/purchases/none/settle", json={"cost_usd": 0, "why": "x"}).status_code == 404
    settled = op.post("/v1/admin/purchases/a4/settle", json={"arrived_as": "p-7", "why": "its log shows it"})
    assert settled.json == {"changed": True}
    assert op.post("/v1/admin/purchases/a4/settle", json={"cost_usd": 0.02, "why": "its bill"}).json == {
        "changed": True
    }
    assert op.post("/v1/admin/purchases/a4/settle", json={"cost_usd": 0.02, "why": "again"}).json == {"changed": False}
    assert ledger.open_purchases() == []
    log = op.get("/v1/admin/operations").json["data"]
    assert [(line["act"], line["target"], line["after"]) for line in log[:2]] == [
        ("settle", "purchase a4", "delivered for 20000"),
        ("settle", "purchase a4", "arrived as p-7"),
    ]


def test_what_the_farm_knows_otherwise_is_refused_in_words_and_is_no_act_of_the_operator(
    spent: tuple[Caller, Caller], caller: Make
) -> None:
    op = caller("ops", role="operator")

    def settled(**what: object) -> tuple[int, object]:
        answer = op.post("/v1/admin/purchases/a4/settle", json={"why": "its page", **what})
        return answer.status_code, (answer.json or {}).get("detail")

    assert settled(arrived_as="p-7") == (200, None)
    assert settled(arrived_as="p-8") == (409, "the provider calls it p-7 already")
    assert settled(cost_usd=0.02) == (200, None)
    assert settled(cost_usd=0.03) == (409, "it was closed as delivered, for 0.02 dollars")
    assert settled(cost_usd=0) == (409, "it was closed as delivered, for 0.02 dollars")
    for known in ({"arrived_as": "p-7"}, {"cost_usd": 0.02}):
        answer = op.post("/v1/admin/purchases/a4/settle", json={"why": "again", **known})
        assert (answer.status_code, answer.json) == (200, {"changed": False})
    log = [line for line in op.get("/v1/admin/operations").json["data"] if line["act"] == "settle"]
    assert [line["after"] for line in log] == ["delivered for 20000", "arrived as p-7"]


@pytest.mark.parametrize(("cancelled", "payer"), [(False, Payer.OVERHEAD), (True, Payer.TENANT)])
def test_what_an_operator_finds_of_an_order_that_its_job_has_left_is_paid_as_what_the_farm_finds(
    cancelled: bool, payer: Payer, caller: Make, ledger: Ledger
) -> None:
    """Whoever has his result from here must not pay for another; whoever cancelled has asked for it."""
    caller("alice")
    claim = bought(ledger, admitted(ledger, "alice"), "a1", 30_000)
    if cancelled:
        ledger.cancel("alice", claim.job.id)
    ledger.unbuy(claim.job.id, claim.attempt, "a1", None)
    answer = caller("ops", role="operator").post(
        "/v1/admin/purchases/a1/settle", json={"cost_usd": 0.02, "why": "its bill"}
    )
    assert answer.json == {"changed": True}
    purchase = ledger.purchase("a1")
    assert purchase is not None
    assert (purchase.cost, purchase.payer) == (20_000, payer)


def test_a_callback_is_heard_at_an_address_that_nobody_can_guess(spent: tuple[Caller, Caller], ledger: Ledger) -> None:
    alice, _ = spent
    purchase = ledger.purchase("a4")
    assert purchase is not None
    body = {"code": 200, "data": {"taskId": "task_wan_1", "state": "success", "resultJson": "{}"}}
    assert alice.client.post(f"/v1/purchases/{purchase.job}/nope", json=body).status_code == 404
    assert alice.client.post(f"/v1/purchases/{new_job_id()}/a4", json=body).status_code == 404
    for said in (b"", b"not json", b"[]"):
        assert alice.client.post(f"/v1/purchases/{purchase.job}/a4", data=said).status_code == 200
    assert alice.client.post(f"/v1/purchases/{purchase.job}/a4", json=body).status_code == 200
    told = ledger.purchase("a4")
    assert told is not None
    assert (told.told, told.id, told.state) == ("task_wan_1", None, purchase.state)


def test_a_job_tells_who_renders_it_and_what_it_costs(spent: tuple[Caller, Caller], ledger: Ledger) -> None:
    alice, _ = spent
    found = {job["label"]: job for job in alice.get("/v1/jobs").json["data"]}
    assert found["here"]["bought"] is None
    assert found["open"]["bought"] == {"provider": "kie", "model": "wan/turbo", "match": "", "id": None}
    ledger.note_decision(found["open"]["id"], {"verdict": "bought", "why": "cheap", "numbers": {"price_usd": 0.03}})
    told = alice.get(f"/v1/jobs/{found['open']['id']}/explain").json["external"]
    assert told == {"verdict": "bought", "why": "cheap", "numbers": {"price_usd": 0.03}, "provider": None}
