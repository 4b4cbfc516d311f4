"""The submit ledger against a simulated provider: what is bought is bought once, whatever becomes of the answer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from burst_parts import (
    KEY,
    KEY_ENV,
    PRICE,
    T2V,
    TENANT,
    BuyingFarm,
    buying,
    buying_from,
    mishap,
    new_job,
    provider,
    simulated,
)

from farm.config import Settings
from farm.jobs.job import Claim
from farm.jobs.purchase import OverCap, PurchaseEnding, PurchaseState
from farm.jobs.states import Phase, State
from farm.storage.store import Store
from tests.conftest import wait_until
from tools.provider_simulator.simulator import Simulator

Farm = Callable[..., BuyingFarm]


def charged(kie: Simulator) -> list[dict[str, Any]]:
    return [one for one in kie.ledger()["charged"] if one["units"]]


def test_a_job_that_would_wait_is_bought_and_its_result_is_the_farm_s_own(farm: Farm, kie: Simulator) -> None:
    here = farm()
    (job_id,) = here.admit(new_job("a fox in the snow"))
    job = here.until_over(job_id)
    assert (job.state, job.error_message) == (State.SUCCEEDED, None)
    assert job.artifacts is not None
    store = here.context.store
    recipe = json.loads(store.get_bytes(job.artifacts.recipe, 1 << 20))
    assert store.get_bytes(job.artifacts.poster, 1 << 20)[:2] == b"\xff\xd8"
    bought = recipe["bought"]
    assert (bought["provider"], bought["key"], bought["cost_usd"]) == ("kie", "main", 0.2)
    assert bought["id"] == charged(kie)[0]["id"] == job.purchase_id
    assert KEY not in json.dumps(recipe)
    purchase = here.purchase(job_id)
    assert (purchase.state, purchase.ending, purchase.cost) == (PurchaseState.CLOSED, PurchaseEnding.DELIVERED, PRICE)
    assert here.spent() == here.spent("tenant acme") == here.spent("provider kie") == (0, PRICE)
    assert (job.artifacts.width, job.artifacts.frames) == (64, 5)


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        (mishap("create", "refuse", kind="input"), PurchaseEnding.REFUSED),
        (mishap("create", "refuse", kind="busy"), PurchaseEnding.TURNED_AWAY),
        (mishap("create", "fail"), PurchaseEnding.FAILED),
    ],
    ids=["refused", "turned away", "failed there"],
)
def test_what_came_to_nothing_costs_nothing_and_the_job_is_rendered_here(
    fault: dict[str, Any], ending: PurchaseEnding, farm: Farm, kie: Simulator
) -> None:
    kie.faults.set([fault])
    here = farm(tries=1)
    (job_id,) = here.admit(new_job())
    here.until(job_id, lambda job: job.state is State.QUEUED and job.purchase_nonce, "its return")
    assert here.purchase(job_id).ending is ending
    assert here.spent() == (0, 0)
    assert charged(kie) == []
    assert here.job(job_id).attempts_used == 0


UNREADABLE = [
    mishap("create", "drop", times=1),
    mishap("create", "http", status=502, times=1),
    mishap("create", "text", times=1),
    mishap("create", "half", times=1),
    mishap("create", "hang", seconds=25, times=1),
]


@pytest.mark.parametrize(
    "fault",
    # two with every landing, all of them with `make soak`
    [pytest.param(one, marks=() if one["do"] in ("drop", "text") else pytest.mark.soak) for one in UNREADABLE],
    ids=[str(one["do"]) for one in UNREADABLE],
)
def test_an_answer_that_nobody_can_read_is_no_reason_to_ask_again(
    fault: dict[str, Any], farm: Farm, kie: Simulator
) -> None:
    """The hold stays, nothing is sent again, and nobody else is asked; the callback, whose address nobody can guess,
    makes a verified read that settles it."""
    kie.faults.set([fault, mishap("callback", "none")])
    here = farm(door=True)
    (job_id,) = here.admit(new_job())
    here.until(job_id, lambda job: job.phase == Phase.SUBMIT_UNKNOWN, "an unknown submission")
    assert here.spent() == (PRICE, 0)
    kie.call_back(kie.books.tasks()[0])
    job = here.until_over(job_id)
    assert job.state is State.SUCCEEDED
    assert kie.ledger()["submits"] == 1
    assert len(charged(kie)) == 1
    assert here.spent() == (0, PRICE)


def test_a_submission_that_stays_unknown_is_rendered_here_and_keeps_its_hold(farm: Farm, kie: Simulator) -> None:
    kie.faults.set([mishap("create", "drop", times=1)])
    here = farm(unknown_after_s=0.5)  # no door: no callback comes
    (job_id,) = here.admit(new_job())
    here.until(job_id, lambda job: job.state is State.QUEUED and job.purchase_nonce, "its return")
    assert here.spent() == (PRICE, 0)
    here.until(job_id, lambda _: here.ledger.decision(job_id)["verdict"] == "stays", "a decision")  # type: ignore[index]
    assert kie.ledger()["submits"] == 1
    purchase = here.purchase(job_id)
    assert (purchase.state, purchase.current) == (PurchaseState.OPEN, False)


def test_a_late_callback_brings_a_waiting_job_back_to_what_was_bought(farm: Farm, kie: Simulator) -> None:
    kie.faults.set([mishap("create", "drop", times=1), mishap("callback", "none")])
    here = farm(door=True, unknown_after_s=0.3)
    (job_id,) = here.admit(new_job())
    here.until(job_id, lambda job: job.state is State.QUEUED and job.purchase_nonce, "its return")
    kie.call_back(kie.books.tasks()[0])
    assert here.until_over(job_id).state is State.SUCCEEDED
    assert here.spent() == (0, PRICE)
    assert kie.ledger()["submits"] == 1


def test_a_result_that_comes_when_the_job_is_rendered_here_is_waste_of_the_farm_s(farm: Farm, kie: Simulator) -> None:
    kie.faults.set([mishap("create", "drop", times=1), mishap("callback", "none")])
    here = farm(door=True, unknown_after_s=0.3)
    (job_id,) = here.admit(new_job())
    here.until(job_id, lambda job: job.state is State.QUEUED and job.purchase_nonce, "its return")
    assert here.ledger.claim("gpu", "a GPU of our own") is not None
    kie.call_back(kie.books.tasks()[0])
    here.until(job_id, lambda _: here.purchase(job_id).state is PurchaseState.CLOSED, "the purchase's end")
    assert (here.spent("tenant acme"), here.spent("overhead"), here.spent()) == ((0, 0), (0, PRICE), (0, PRICE))


def test_an_order_whose_intent_was_stored_and_told_too_late_is_given_at_once_again(
    settings: Settings, kie: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when no replica acknowledged it for longer than a lease: who was to send it knows that it did not."""
    here = BuyingFarm(buying(settings, {"kie": kie}))
    buy, late = here.ledger.buy, list[str]()

    def answered_late(job_id: str, worker: str, nonce: str, *args: Any, **more: Any) -> Claim | OverCap | None:
        claim = buy(job_id, worker, nonce, *args, **more)
        if late or not isinstance(claim, Claim):
            return claim
        late.append(nonce)
        # the lease is another's meanwhile, who can know of no submission
        here.ledger.release(job_id, claim.attempt)
        here.until(job_id, lambda job: job.attempt > claim.attempt, "its next owner")
        return buy(job_id, worker, nonce, *args, **more)

    monkeypatch.setattr(here.ledger, "buy", answered_late)
    Store(settings.s3).ensure_bucket()
    with here:
        (job_id,) = here.admit(new_job())
        assert here.until_over(job_id).state is State.SUCCEEDED
    endings = [one.ending for one in here.ledger.purchases_of_job(job_id)]
    assert endings == [PurchaseEnding.NOT_SENT, PurchaseEnding.DELIVERED]
    assert kie.ledger()["submits"] == 1
    assert here.spent() == (0, PRICE)


def test_a_cancel_that_the_provider_did_not_hear_is_repeated(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is over at once; what was bought goes on without it, and costs money until it is stopped."""
    monkeypatch.setenv(KEY_ENV, KEY)
    with simulated("openai", tmp_path, render_s=600.0) as openai:
        openai.faults.set([mishap("cancel", "refuse", kind="server", times=2)])
        one = provider(openai, models={T2V: {"per_second": {"480p": 0.04}}})
        with BuyingFarm(buying_from(settings, {"openai": one})) as here:
            (job_id,) = here.admit(new_job())
            here.until(job_id, lambda job: job.purchase_id, "its purchase")
            here.ledger.cancel(TENANT, job_id)
            assert here.until_over(job_id).state is State.CANCELLED
            wait_until(lambda: openai.books.open_tasks() == 0, what="the provider to stop")
