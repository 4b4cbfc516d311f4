"""Spend and purchases in the farm's own JSON. Pure."""

import csv
import io
from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

from pydantic import Field

from farm.jobs.money import MICRO
from farm.jobs.purchase import Purchase, PurchaseEnding, PurchaseState
from farm.wire.own import Strict
from farm.wire.own_views import View, moment


class SpendLine(View):
    """One sum. jobs_here and jobs_bought: jobs that succeeded, seconds_here what the farm's own took; credits: charged,
    wherever a job was rendered. In US dollars: bought, for results that were used; failed, for purchases that came to
    nothing; wasted, for results that were not needed any more, which the farm pays; held, for purchases that go on."""

    name: str
    jobs_here: int
    jobs_bought: int
    seconds_here: float
    credits: float
    bought_usd: float
    failed_usd: float
    wasted_usd: float
    held_usd: float


class SpendView(View):
    """Days of UTC, the last one included."""

    object: Literal["spend"] = "spend"
    by: str
    first_day: date
    last_day: date
    data: list[SpendLine]


def as_csv(lines: Sequence[SpendLine]) -> str:
    """With a line of names before it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(SpendLine.model_fields)
    writer.writerow(names)
    writer.writerows([[_plain(getattr(line, name)) for name in names] for line in lines])
    return out.getvalue()


def _plain(value: object) -> object:
    """A spreadsheet must not take a label for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


class PurchaseView(View):
    """One submission to a provider, in US dollars. `id` is what the provider calls it; null until that is known.
    `follows`: its job is still rendered there; otherwise the job has left it, or is over."""

    purchase: str
    job: str
    tenant: str
    provider: str
    key: str
    model: str
    match: str
    at: datetime
    state: PurchaseState
    ending: PurchaseEnding | None
    id: str | None
    price_usd: float
    cost_usd: float | None
    payer: str | None
    follows: bool


class PurchaseList(View):
    """A list of purchases."""

    object: Literal["list"] = "list"
    data: list[PurchaseView]


#: the longest id that a provider gives an order, and the most dollars that one comes to
MOST_ID_CHARS, MOST_USD = 200, 1e6


class AskSettle(Strict):
    """What an operator found out. arrived_as: the provider has it, under this id; cost_usd without it: it is over there
    and came to so much, which may be 0 where it never arrived."""

    arrived_as: str | None = Field(None, min_length=1, max_length=MOST_ID_CHARS)
    cost_usd: float | None = Field(None, ge=0, le=MOST_USD)
    why: str = Field(min_length=1, max_length=500, description="kept in the log of what operators did")


def purchase_view(purchase: Purchase) -> PurchaseView:
    """As an operator sees it. No key, only its name."""
    intent = purchase.intent
    return PurchaseView(
        purchase=purchase.nonce,
        job=purchase.job,
        tenant=purchase.tenant,
        provider=purchase.provider,
        key=str(intent.get("key", "")),
        model=str(intent.get("sold", "")),
        match=str(intent.get("match", "")),
        at=moment(purchase.at_ms),
        state=purchase.state,
        ending=purchase.ending,
        id=purchase.id,
        price_usd=purchase.price / MICRO,
        cost_usd=None if purchase.cost is None else purchase.cost / MICRO,
        payer=purchase.payer,
        follows=purchase.current,
    )
