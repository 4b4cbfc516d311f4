"""What an operator says of a purchase, over HTTP, and what becomes of its job."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from burst_parts import KEY, KEY_ENV, PRICE, BuyingFarm, animate_job, buying, mishap, new_job, simulated
from settling_operator import Operator, operator_key

from api.app import create_app
from farm.config import Settings
from farm.jobs.job import NewJob
from farm.jobs.purchase import Payer, PurchaseEnding, PurchaseState
from farm.jobs.states import Phase, State
from farm.storage.store import Store
from monitoring.metrics import PROVIDER_POLLS
from tests.api.gateway_thread import served
from tests.conftest import wait_until
from tools.provider_simulator.simulator import Simulator

Farm = Callable[..., tuple[BuyingFarm, Operator, Simulator]]


@pytest.fixture
def farm(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    """Starts a farm that buys from a provider of a dialect, and an operator who reads that provider's log."""
    monkeypatch.setenv(KEY_ENV, KEY)
    Store(settings.s3).ensure_bucket()
    with ExitStack() as stack:

        def make(dialect: str, *faults: dict[str, object], **burst: object) -> tuple[BuyingFarm, Operator, Simulator]:
            seller = stack.enter_context(simulated(dialect, tmp_path))
            seller.faults.set([*faults, mishap("callback", "none")])
            url = stack.enter_context(served(create_app(settings)))
            here = BuyingFarm(buying(settings, {dialect: seller}, public_url=url, **burst))
            stack.enter_context(here)
            operator = Operator(url, operator_key(settings), lambda: log_of(seller))
            return here, stack.enter_context(operator), seller

        yield make


def log_of(seller: Simulator) -> dict[str, str]:
    """The id there of each order, by the last part of its callback's address."""
    return {one["callback_url"].rpartition("/")[2]: one["id"] for one in seller.ledger()["charged"]}


@pytest.mark.parametrize(("dialect", "job"), [("kie", new_job()), ("apixo", animate_job()), ("crun", animate_job())])
def test_the_id_on_the_provider_s_page_is_all_that_a_job_needs_to_go_back_to_its_order(
    dialect: str, job: NewJob, farm: Farm
) -> None:
    here, operator, seller = farm(dialect, mishap("create", "drop", times=1), unknown_after_s=0.3)
    (job_id,) = here.admit(job)
    here.until(job_id, lambda job: job.state is State.QUEUED and job.purchase_nonce, "its return")
    operator.settle()
    assert (operator.arrived, operator.never_arrived) == (1, 0)
    assert here.until_over(job_id).state is State.SUCCEEDED
    assert seller.ledger()["submits"] == 1
    purchase = here.purchase(job_id)
    assert (purchase.ending, purchase.payer) == (PurchaseEnding.DELIVERED, Payer.TENANT)
    assert here.spent() == (0, purchase.cost)


def test_a_job_whose_order_never_arrived_is_bought_again(farm: Farm) -> None:
    here, operator, seller = farm("kie", mishap("create", "drop", accept=False, times=1), unknown_after_s=0.3)
    (job_id,) = here.admit(new_job())
    here.until(job_id, lambda job: job.state is State.QUEUED and job.purchase_nonce, "its return")
    operator.settle()
    assert (operator.arrived, operator.never_arrived) == (0, 1)
    assert here.until_over(job_id).state is State.SUCCEEDED
    assert seller.ledger()["accepted"] == 1
    assert here.spent() == (0, PRICE)


def test_nobody_waits_for_an_order_of_which_an_operator_says_that_it_never_arrived(farm: Farm) -> None:
    here, operator, seller = farm("kie", mishap("create", "drop", accept=False, times=1))
    (job_id,) = here.admit(new_job())
    here.until(job_id, lambda job: job.phase == Phase.SUBMIT_UNKNOWN, "an unknown submission")
    operator.say(here.purchase(job_id).nonce, cost_usd=0.0)
    assert here.until_over(job_id).state is State.SUCCEEDED
    first = here.ledger.purchases_of_job(job_id)[0]
    assert (first.ending, first.cost, first.payer) == (PurchaseEnding.NEVER_ARRIVED, 0, Payer.TENANT)
    assert seller.ledger()["accepted"] == 1


def test_nobody_waits_for_an_order_that_an_operator_says_is_over(farm: Farm) -> None:
    """Its provider says a word that no document has: nobody but a person can know that it means an end."""
    here, operator, seller = farm("kie", mishap("create", "stuck"))
    (job_id,) = here.admit(new_job())
    here.until(job_id, lambda job: job.phase == Phase.GENERATING, "its render there")
    operator.say(here.purchase(job_id).nonce, cost_usd=PRICE / 1e6)
    job = here.until(job_id, lambda job: job.state is State.QUEUED, "its return")
    assert job.attempts_used == 0
    purchase = here.purchase(job_id)
    assert (purchase.state, purchase.cost, purchase.payer) == (PurchaseState.CLOSED, PRICE, Payer.OVERHEAD)
    assert (here.spent("tenant acme"), here.spent("overhead"), here.spent()) == ((0, 0), (0, PRICE), (0, PRICE))
    assert purchase.settled_by is not None
    # and what it paid for once it buys of nobody again
    wait_until(lambda: (here.ledger.decision(job_id) or {}).get("verdict") == "stays", what="a decision")
    assert seller.ledger()["submits"] == 1


def test_a_provider_that_takes_its_word_back_is_waited_for(farm: Farm) -> None:
    """Of two answers the second may come from a server there that knows less: what is paid for is still to come."""
    here, _, seller = farm("kie")
    seller.knobs.render_s = 600.0
    (job_id,) = here.admit(new_job())
    here.until(job_id, lambda job: job.phase == Phase.GENERATING, "its render there")
    nonce = here.purchase(job_id).nonce
    # as by a process that heard of its end, and died
    here.ledger.close_purchase(nonce, PurchaseEnding.DELIVERED, PRICE)
    here.ledger.purchase_told(job_id, nonce, None)
    polls = polled()
    wait_until(lambda: polled() >= polls + 5, what="looks at what is not over")
    assert here.job(job_id).state is State.RUNNING
    (task,) = seller.books.tasks()
    seller.books.change(task, ends=seller.books.now())
    assert here.until_over(job_id).state is State.SUCCEEDED
    assert here.purchase(job_id).payer is Payer.TENANT


def polled() -> float:
    """Looks at kie that were answered."""
    return float(PROVIDER_POLLS.labels("kie", "read")._value.get())
