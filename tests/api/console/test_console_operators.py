"""The operators' pages of a farm with many workers, several lanes, and a provider."""

import re
from collections.abc import Callable

import pytest
from flask import Flask
from redis import Redis

from api.app import create_app
from api.services import Services
from farm.config import Settings
from farm.jobs.job import Claim
from farm.jobs.purchase import Payer, PurchaseEnding
from farm.jobs.worker_status import WorkerState, WorkerStatus
from farm.ledger import Ledger, SwitchKind
from farm.ledger.job_lines import JobLine
from farm.providers import Providers
from farm.providers.gate import Gate
from farm.wire.http import Why
from tests.api.api_parts import POOL, TINY, Caller, Hand
from tests.api.console.console_parts import Browser

GB = 10**9


@pytest.fixture
def operator(caller: Callable[..., Caller], browser: Callable[[Caller], Browser], hand: Hand) -> Browser:
    return browser(caller("house", role="operator"))


def rows(page: str) -> list[str]:
    """The rows of a page's table, as text."""
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", row)) for row in body.split("<tr")[1:]]


def test_workers_in_trouble_come_first_and_the_rest_by_the_page(operator: Browser, ledger: Ledger) -> None:
    for n in range(220):
        busy = WorkerStatus(state=WorkerState.BUSY, device="H100", models=(TINY,), lane=f"{TINY}@bf16", slot=str(n))
        ledger.worker_seen(f"gpu-{n:03}", "many", busy, ttl_s=600)
    bad = WorkerStatus(
        state=WorkerState.QUARANTINED,
        device="H100",
        reason="Xid 79",
        until="2026-11-26T20:00:00+00:00",
        memory={"device_bytes": 80 * GB, "host_bytes": 512 * GB},
        models=(TINY,),
    )
    ledger.worker_seen("zz-bad", "many", bad, ttl_s=600, slots=0)
    page = operator.get("/farm/workers").text
    shown = rows(page)
    assert len(shown) == 100
    assert all(word in shown[0] for word in ("zz-bad", "quarantined", "Xid 79", "80 GB", "512 GB"))
    assert "1 to 100 of 222" in page
    seen = [row for begin in (0, 100, 200) for row in rows(operator.get(f"/farm/workers?from={begin}").text)]
    assert len(seen) == len(set(seen)) == 222
    assert len(rows(operator.get("/farm/workers?state=busy&pool=many&from=200").text)) == 20
    assert [row for row in rows(operator.get("/farm/workers?state=idle").text) if "hand" in row]
    assert operator.get("/farm/workers?state=nonsense").status_code == 422
    assert operator.get("/farm/workers?from=-1").status_code == 422
    # the last page of a list that became shorter
    assert len(rows(operator.get("/farm/workers?from=99999999").text)) == 1


def test_the_end_of_a_quarantine_is_in_the_log(operator: Browser, ledger: Ledger) -> None:
    ledger.worker_seen("gpu-9", "default", WorkerStatus(state=WorkerState.QUARANTINED), ttl_s=60, slots=0)
    assert operator.post("/farm/workers/forgive", {"worker": "gpu-9"}).status_code == 422
    assert not ledger.forgiven("gpu-9")
    assert operator.post("/farm/workers/forgive", {"worker": "gpu-9", "why": "a new card"}).status_code == 303
    assert ledger.forgiven("gpu-9")
    [told] = ledger.operations()
    assert (told.act, told.target, told.why) == ("forgive", "worker gpu-9", "a new card")


def test_what_an_operator_paused_says_so_on_its_owners_pages(
    operator: Browser, alice: Caller, browser: Callable[[Caller], Browser]
) -> None:
    owner, job_id = browser(alice), alice.submit()["id"]
    assert "Paused" not in owner.get(f"/jobs/{job_id}").text
    assert operator.post("/farm/pause", {"kind": "pool", "name": "none", "why": "a test"}).status_code == 404
    assert operator.post("/farm/pause", {"kind": "pool", "name": "default", "why": "a test"}).status_code == 303
    assert ">Paused<" in owner.get("/jobs").text
    page = owner.get(f"/jobs/{job_id}").text
    assert "Paused" in page
    assert "An operator paused the pool" in page


def test_a_paused_pool_foretells_no_wait_and_a_worker_is_locked(
    operator: Browser, alice: Caller, ledger: Ledger
) -> None:
    alice.submit()
    assert re.search(r"Expected wait</dt><dd>\d+ s", operator.get("/farm/queue").text)
    ledger.pause(SwitchKind.POOL, POOL, who="an operator", why="a test")
    assert "Expected wait</dt><dd>–" in operator.get("/farm/queue").text
    busy = WorkerStatus(state=WorkerState.BUSY, models=(TINY,), job=alice.submit()["id"])
    ledger.worker_seen("gpu-9", POOL, busy, ttl_s=600)
    [row] = rows(operator.get("/farm/workers?state=busy").text)
    assert ("locked" in row, row.endswith(" Lock "), f"job {busy.job[-12:]}" in row) == (False, True, True)
    assert operator.post("/farm/pause", {"kind": "worker", "name": "gpu-9", "why": "a test"}).status_code == 303
    [row] = rows(operator.get("/farm/workers?state=busy").text)
    assert ("locked" in row, row.endswith(" Resume ")) == (True, True)


def test_the_queue_shows_who_does_not_get_a_turn(
    operator: Browser, alice: Caller, bob: Caller, caller: Callable[..., Caller], hand: Hand, parts: Services
) -> None:
    carol = caller("carol", max_running=1)
    for one, jobs in ((alice, 2), (bob, 1), (carol, 3)):
        for _ in range(jobs):
            one.submit()
    assert "Out of turn" not in operator.get("/farm/queue").text
    parts.ledger.pause(SwitchKind.TENANT, "alice", who="an operator", why="a test")
    claims = [hand.claim() for _ in range(2)]
    assert {claim.job.tenant for claim in claims} == {"bob", "carol"}
    page = operator.get("/farm/queue").text
    assert "Out of turn</dt><dd>4<" in page
    told = [re.sub(r" \d+ s", "", row) for row in rows(page)]
    assert [row.partition(" ")[2] for row in told] == ["bob 0 ", "alice 2 Paused ", "carol 2 At its cap "]


def test_the_audit_log_says_what_changed_in_one_word(operator: Browser) -> None:
    operator.post("/farm/pause", {"kind": "pool", "name": POOL, "why": "a new driver"})
    [row] = rows(operator.get("/farm/log").text)
    assert "pause pool default on → paused a new driver" in row


def test_lanes_say_how_much_how_long_and_what_waits(
    alice: Caller, operator: Browser, hand: Hand, ledger: Ledger, redis: Redis
) -> None:
    for _ in range(3):
        alice.submit()
    claim = hand.claim()
    redis.hincrby(f"wf:job:{claim.job.id}", "started_ms", -1_200_000)
    hand.finish(claim)
    ledger.rendered(claim.job.pool, claim.job.lane, work_tflop=10, seconds=2)
    [row] = rows(operator.get("/farm/lanes").text)
    assert claim.job.lane in row
    # done an hour, mean, failed, running, queued
    assert re.search(r" 1 20 min 0 0 2 \d+ \w+ 5 from 1 ", row), row


def test_a_provider_is_shown_with_its_money_and_why_it_is_not_asked(
    settings: Settings, redis: Redis, caller: Callable[..., Caller], hand: Hand, alice: Caller, ledger: Ledger
) -> None:
    seller = {"dialect": "kie", "base_url": "https://kie.example", "keys": {"main": {"env": "KIE_KEY"}}}
    sold = Settings(**{**settings.model_dump(), "providers": {"kie": seller}})
    key = caller("house", role="operator").key
    app: Flask = create_app(sold)
    try:
        here = Browser(app.test_client(), "house")
        here.sign_in(key)
        page = here.get("/farm/providers").text
        assert ">open</span>" in page
        assert "$0.00 <small>of $50.00</small>" in page
        Gate(redis, sold, Providers(sold).entries).penalise("kie", "main", Why.CREDIT, None, "no money <b>left</b>")
        page = here.get("/farm/providers").text
        assert re.search("not asked for [0-9]+ (s|min): credit", page)
        assert "no money &lt;b&gt;left" in page
        assert "Nothing was decided yet" in page
        told = {
            "verdict": "stays",
            "why": "it stays here: <i>its seed</i>",
            "numbers": {"start_s": 95.0, "gain_s": 0.0},
        }
        ledger.note_decision(alice.submit()["id"], told)
        numbers = {"start_s": None, "price_usd": 0.2, "effective_usd": 0.25, "seconds_there": 40}
        bought = {"verdict": "bought", "why": "now", "provider": "kie", "explored": True, "numbers": numbers}
        ledger.note_decision("gone", bought)
        newest, before = rows(here.get("/farm/providers").text)
        assert re.search("Bought kie, to try it now never 40 s .0.20 failures counted: .0.25", newest), newest
        assert re.search("alice Stays here it stays here: &lt;i&gt;its seed&lt;/i&gt; 2 min – –", before), before
    finally:
        app.extensions["wanfarm"].redis.close()


def test_purchases_of_which_nobody_knows_are_settled_from_the_provider_s_log(
    operator: Browser, alice: Caller, ledger: Ledger
) -> None:
    intent = {"provider": "kie", "key": "main", "sold": "wan/turbo"}
    for nonce in ("p1", "p2", "p3", "p4"):
        claim = ledger.buy(alice.submit("not for operators")["id"], "burst", nonce, intent, price=200_000)
        assert isinstance(claim, Claim)
        if nonce != "p4":
            ledger.unbuy(claim.job.id, claim.attempt, nonce, None)
        # one is known there, and its provider does not say that it is over
        if nonce == "p3":
            ledger.cancel("alice", claim.job.id)
            ledger.bought(nonce, "task-3")
    page = operator.get("/farm/providers").text
    assert "not for operators" not in page
    shown = rows(page)
    assert [row.split()[3] for row in shown] == ["p1", "p2", "p3"]
    # of what has an id there it is known that it arrived
    assert ["Never arrived" in row for row in shown] == [True, True, False]
    assert "task-3" in shown[2]

    def settle(told: str, purchase: str, said: str = "", why: str = "its log") -> int:
        form = {"purchase": purchase, "said": said, "why": why}
        return operator.post(f"/farm/purchases/{told}", form).status_code

    assert settle("arrived", "p1", "") == settle("cost", "p1", "much") == settle("cost", "p1", "nan") == 422
    assert settle("arrived", "p1", "task-1", why="") == 422
    assert settle("arrived", "none", "task-1") == 404
    assert settle("arrived", "p1", " task-1 ") == settle("never_arrived", "p2") == settle("cost", "p3", "0.15") == 303
    assert settle("arrived", "p1", "task-9") == settle("cost", "p2", "0.20") == 409
    found = {one.nonce: (one.id, one.ending, one.cost, one.payer) for one in ledger.purchases(0, 2**50)}
    assert found == {
        "p1": ("task-1", None, None, None),
        "p2": (None, PurchaseEnding.NEVER_ARRIVED, 0, Payer.TENANT),
        # its owner cancelled
        "p3": ("task-3", PurchaseEnding.DELIVERED, 150_000, Payer.TENANT),
        "p4": (None, None, None, None),
    }
    assert "Purchases to settle" not in operator.get("/farm/providers").text
    assert [line.after for line in ledger.operations(limit=10)] == [
        "delivered for 150000", "never_arrived for 0", "arrived as task-1",
    ]  # fmt: skip


def test_a_job_page_has_the_lines_that_its_worker_logged(
    alice: Caller, browser: Callable[[Caller], Browser], hand: Hand, parts: Services
) -> None:
    job = alice.submit()
    claim = hand.claim()
    parts.ledger.keep_lines(
        job["id"], claim.attempt, [JobLine(claim.job.created_ms + 1, "attempt 1: <i>began</i>", True)]
    )
    hand.finish(claim)
    page = browser(alice).get(f"/jobs/{job['id']}").text
    assert 'class="bad"' in page
    assert "attempt 1: &lt;i&gt;began" in page
