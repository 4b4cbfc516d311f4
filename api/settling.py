"""What an operator found out about a purchase in its provider's own log. For the API and the console."""

from api.services import services
from farm.jobs.errors import Conflict, NotFound
from farm.jobs.money import MICRO
from farm.jobs.purchase import (
    Payer,
    Purchase,
    PurchaseEnding,
    PurchaseNews,
    PurchaseState,
    payer_without_result,
)


def arrived(nonce: str, purchase_id: str, *, who: str, why: str) -> bool:
    """The provider has it, under this id: the farm reads the rest itself. Whether that was news. Raises NotFound, and
    Conflict where another id is known."""
    before = _found(nonce)
    if services().ledger.bought(nonce, purchase_id, who=who, why=why) is PurchaseNews.SECOND:
        raise Conflict(f"the provider calls it {_found(nonce).id} already", "arrived_as")
    return before.id is None


def over(nonce: str, cost: int, *, who: str, why: str) -> bool:
    """It is over there and came to `cost`, in millionths of a dollar; 0: it never arrived. What its job did not get,
    the farm's overhead account pays, unless the job was cancelled. Whether that was news. Raises NotFound, and Conflict
    where it is known to have come to something else."""
    ledger, purchase = services().ledger, _found(nonce)
    ending = PurchaseEnding.DELIVERED if cost else PurchaseEnding.NEVER_ARRIVED
    payer = _payer(purchase) if cost else Payer.TENANT
    if purchase.state is PurchaseState.OPEN and ledger.close_purchase(nonce, ending, cost, payer, who=who, why=why):
        return True
    known = _found(nonce)
    if known.cost != cost:
        raise Conflict(f"it was closed as {known.ending}, for {(known.cost or 0) / MICRO:g} dollars", "cost_usd")
    return False


def _payer(purchase: Purchase) -> Payer:
    if purchase.current:
        # the job that follows it may have its result yet; one that leaves it makes it the farm's
        return Payer.TENANT
    job = services().ledger.find(purchase.job)
    return payer_without_result(job.state if job else None)


def _found(nonce: str) -> Purchase:
    purchase = services().ledger.purchase(nonce)
    if purchase is None:
        raise NotFound(f"no purchase {nonce}")
    return purchase
