"""`farm.spending` of the client: what was rendered and bought, in sums; and, for an operator, the purchases."""

from datetime import date
from typing import Literal
from urllib.parse import quote

from farm.client.transport import Transport
from farm.wire.own_admin import ActView
from farm.wire.own_spend import PurchaseList, PurchaseView, SpendView


class Spending:
    """Days of UTC, both included; None: this month."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def sums(self, by: str, first: date | None = None, last: date | None = None, *, farm: bool = False) -> SpendView:
        """Of the key's tenant; `farm`: of everybody, for an operator."""
        given = {"by": by, "first_day": first and first.isoformat(), "last_day": last and last.isoformat()}
        query = {name: value for name, value in given.items() if value is not None}
        path = "/v1/admin/spend" if farm else "/v1/usage/spend"
        return self._transport.ask(SpendView, "GET", path, params=query)

    def purchases(self, which: Literal["open", "left", "all"], days: int = 31) -> list[PurchaseView]:
        """Of everybody, for an operator."""
        query = {"which": which, "days": days}
        return self._transport.ask(PurchaseList, "GET", "/v1/admin/purchases", params=query).data

    def settle(self, purchase: str, *, arrived_as: str | None, cost_usd: float | None, why: str) -> bool:
        """What an operator found out about a purchase: either its id there, or what it came to."""
        body = {"arrived_as": arrived_as, "cost_usd": cost_usd, "why": why}
        path = f"/v1/admin/purchases/{quote(purchase, safe='')}/settle"
        return self._transport.ask(ActView, "POST", path, json=body).changed
