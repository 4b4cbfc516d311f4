"""/v1/usage/spend: what was rendered here and what was bought, in sums; for operators the whole farm's, and the
purchases themselves."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from api import settling
from api.auth import by, tenant
from api.dialect import answer
from api.own.blueprint import own_api
from api.own.operations import json_body, operation, query
from api.services import services
from farm.billing.spend import By, Spend, spend
from farm.jobs.errors import InvalidRequest
from farm.jobs.money import MICRO
from farm.jobs.purchase import Purchase
from farm.jobs.roles import Role
from farm.wire import own
from farm.wire.own_admin import ActView
from farm.wire.own_spend import AskSettle, PurchaseList, SpendLine, SpendView, as_csv, purchase_view
from farm.wire.own_views import ProblemView
from farm.wire.report import Reply

_DAY_MS = 86_400_000
#: days that one answer may be about
_MOST_DAYS = 400


class SpendQuery(BaseModel):
    """Days of UTC, both included; left out: this month. `format` csv is text for a spreadsheet."""

    model_config = ConfigDict(extra="forbid")

    by: By = By.LABEL
    first_day: date | None = None
    last_day: date | None = None
    format: Literal["json", "csv"] = "json"


class PurchaseQuery(BaseModel):
    """open: those whose price is held; left: those of them that their job has left, so that nobody waits for them."""

    model_config = ConfigDict(extra="forbid")

    which: Literal["open", "left", "all"] = "open"
    days: int = Field(31, ge=1, le=_MOST_DAYS)


@own_api.get("/v1/usage/spend")
@operation("What was rendered here and bought", {200: SpendView, 422: ProblemView}, query=SpendQuery)
def own_spend() -> Response:
    """In sums, for chargeback. What failed is in it, and what the farm itself paid for."""
    return _spend(tenant())


@own_api.get("/v1/admin/spend")
@operation(
    "The same of the whole farm",
    {200: SpendView, 403: ProblemView, 422: ProblemView},
    query=SpendQuery,
    role=Role.OPERATOR,
)
def farm_spend() -> Response:
    """What purchases of every tenant cost, as sums."""
    return _spend(None)


def _spend(owner: str | None) -> Response:
    asked, ledger = query(SpendQuery), services().ledger
    last = asked.last_day or datetime.now(UTC).date()
    first = asked.first_day or last.replace(day=1)
    if not timedelta(0) <= last - first < timedelta(days=_MOST_DAYS):
        raise InvalidRequest(f"must be one of the {_MOST_DAYS} days up to last_day", "first_day")
    from_ms = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp() * 1000)
    to_ms = int(datetime(last.year, last.month, last.day, tzinfo=UTC).timestamp() * 1000) + _DAY_MS
    jobs = (job for job in ledger.ended_between(from_ms, to_ms) if owner in (None, job.tenant))
    purchases = _of(owner, ledger.purchases(from_ms, to_ms))
    lines = [_line(row) for row in spend(jobs, purchases, asked.by)]
    if asked.format == "csv":
        return Response(as_csv(lines), mimetype="text/csv")
    return answer(Reply(200, SpendView(by=asked.by, first_day=first, last_day=last, data=lines)))


def _of(owner: str | None, purchases: Iterable[Purchase]) -> list[Purchase]:
    return [one for one in purchases if owner in (None, one.tenant)]


def _line(row: Spend) -> SpendLine:
    dollars = {f"{name}_usd": getattr(row, name) / MICRO for name in ("bought", "failed", "wasted", "held")}
    return SpendLine(
        name=row.name,
        jobs_here=row.jobs_here,
        jobs_bought=row.jobs_bought,
        seconds_here=round(row.seconds_here, 3),
        credits=row.credits / MICRO,
        **dollars,
    )


@own_api.get("/v1/admin/purchases")
@operation(
    "Purchases from providers",
    {200: PurchaseList, 403: ProblemView, 422: ProblemView},
    query=PurchaseQuery,
    role=Role.OPERATOR,
)
def purchases() -> Response:
    """Those that their job has left and whose end is not known are an operator's to
    settle, where the provider's own records say more than its answers did."""
    asked, ledger = query(PurchaseQuery), services().ledger
    if asked.which == "all":
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        found = ledger.purchases(now_ms - asked.days * _DAY_MS, now_ms + _DAY_MS)
    else:
        found = [one for one in ledger.open_purchases() if asked.which == "open" or not one.current]
    return answer(Reply(200, PurchaseList(data=[purchase_view(one) for one in found])))


@own_api.post("/v1/admin/purchases/<nonce>/settle")
@operation(
    "Settle a purchase",
    {200: ActView, 403: ProblemView, 404: ProblemView, 409: ProblemView, 422: ProblemView},
    body=AskSettle,
    role=Role.OPERATOR,
)
def settle(nonce: str) -> Response:
    """By an operator who has read the provider's own records. What its job did not get, the farm's overhead account
    pays, unless the job was cancelled. What the farm knows otherwise already is a conflict."""
    asked, who = own.parse(AskSettle, json_body()), by().who
    if (asked.arrived_as is None) == (asked.cost_usd is None):
        raise InvalidRequest("say either arrived_as or cost_usd", "arrived_as")
    if asked.arrived_as is not None:
        changed = settling.arrived(nonce, asked.arrived_as, who=who, why=asked.why)
    else:
        changed = settling.over(nonce, round((asked.cost_usd or 0) * MICRO), who=who, why=asked.why)
    return answer(Reply(200, ActView(changed=changed)))
