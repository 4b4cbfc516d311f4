"""/v1/usage: a tenant's credit and every booking on it."""

from datetime import datetime
from typing import Literal

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from api.auth import tenant
from api.dialect import answer
from api.own.blueprint import own_api
from api.own.operations import operation, query
from api.services import services
from farm.jobs.money import MICRO
from farm.ledger.outcomes import Account, StatementLine
from farm.wire.own_views import ProblemView, View, moment
from farm.wire.report import Reply


class UsageQuery(BaseModel):
    """`after` is the `id` of the last line that was seen: the lines follow it, oldest first."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = Field(None, pattern=r"^[0-9]{1,19}-[0-9]{1,19}$")
    limit: int = Field(100, ge=1, le=1000)


class Credit(View):
    """In credits. `held` is what open jobs will cost; `available` is the rest."""

    balance: float
    held: float
    available: float


class Line(View):
    """One booking, with the account as it stood after it."""

    id: str
    at: datetime
    kind: Literal["topup", "hold", "settle", "release"]
    amount: float
    job: str | None
    balance: float
    held: float
    note: str


class Usage(View):
    """`credit` is null for a tenant without an account."""

    object: Literal["usage"] = "usage"
    credit: Credit | None
    data: list[Line]
    next_after: str | None


@own_api.get("/v1/usage")
@operation("Credit and bookings", {200: Usage, 422: ProblemView}, query=UsageQuery)
def usage() -> Response:
    """What was paid in, held, spent and released; the statement is append-only."""
    asked, here, owner = query(UsageQuery), services(), tenant()
    lines = here.ledger.statement(owner, after=asked.after, count=asked.limit)
    more = len(lines) == asked.limit
    view = Usage(
        credit=_credit(here.ledger.credit(owner)),
        data=[_line(line) for line in lines],
        next_after=lines[-1].id if more else None,
    )
    return answer(Reply(200, view))


def _credit(account: Account | None) -> Credit | None:
    if account is None:
        return None
    return Credit(balance=account.balance / MICRO, held=account.held / MICRO, available=account.available / MICRO)


def _line(line: StatementLine) -> Line:
    return Line(
        id=line.id,
        at=moment(line.at_ms),
        kind=line.kind.value,
        amount=line.amount / MICRO,
        job=line.job,
        balance=line.balance / MICRO,
        held=line.held / MICRO,
        note=line.note,
    )
