"""crun.ai, as its client."""

from collections.abc import Mapping
from typing import Any

from farm.jobs.errors import FarmError
from farm.wire import crun
from farm.wire.http import Can, Estimate, Placed, ProviderAnswer, ProviderRequest
from farm.wire.outbound.client import DialectClient
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Report


class Crun(DialectClient):
    """Asks a provider that speaks crun."""

    dialect = crun.DIALECT
    can = frozenset({Can.BALANCE, Can.ESTIMATE, Can.CALLBACK})

    def create(self, order: PurchaseOrder) -> ProviderRequest:
        """The create request. Raises as Outbound says."""
        body = self._said(order.in_words, crun.render_create, crun.parse_create)
        return self._post("/api/v1/client/job/CreateTask", body)

    def created(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed:
        """What it answered: the job as the provider names it."""
        return Placed(self._read_created(answer, crun.parse_created))

    def status(self, placed: Placed) -> ProviderRequest:
        """The request for where the job is."""
        return self._get("/api/v1/client/job/TaskInfo", task_id=placed.id)

    def report(self, placed: Placed, answer: ProviderAnswer) -> Report:
        """What it answered."""
        return self._read(answer, crun.parse_status)

    def callback(self, body: Any) -> Report:
        """What a webhook of the provider says; it decides nothing."""
        return self._told(body, crun.parse_callback)

    def balance(self) -> ProviderRequest:
        """The request for what is left in the account."""
        return self._get("/api/v1/client/account/balance")

    def left(self, answer: ProviderAnswer) -> int:
        """Millionths of the provider's unit of money."""
        return self._read(answer, crun.parse_balance) or 0

    def estimate(self, order: PurchaseOrder) -> ProviderRequest:
        """The request for what an order would cost."""
        body = self._said(order.in_words, crun.render_create, crun.parse_create)
        return self._post("/api/v1/client/job/estimate-credits", body)

    def estimated(self, answer: ProviderAnswer) -> Estimate:
        """What it answered."""

        def read(body: Any) -> Estimate | None:
            credits_micro, estimated = crun.parse_estimate(body)
            return None if credits_micro is None else Estimate(credits_micro, exact=not estimated)

        found = self._read(answer, read)
        assert found is not None
        return found

    def _headers(self) -> dict[str, str]:
        return {"X-API-KEY": self._key}

    def _error(self, status: int, body: Any, headers: Mapping[str, str]) -> FarmError | None:
        return crun.parse_error(status, body, headers)
