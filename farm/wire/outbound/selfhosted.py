"""A self-hosted Wan API, as its client: one shape, no account."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from farm.jobs.draft import Draft
from farm.jobs.errors import FarmError
from farm.wire import selfhosted
from farm.wire.http import Placed, ProviderAnswer, ProviderRequest
from farm.wire.outbound.client import DialectClient, segment
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Report


class SelfHosted(DialectClient):
    """Asks a self-hosted server that renders one model."""

    dialect = selfhosted.DIALECT

    def create(self, order: PurchaseOrder) -> ProviderRequest:
        # such a server renders one model and does not name it
        """The create request. Raises as Outbound says."""
        draft = replace(order.in_plain_numbers, model=None, task=None)
        body = self._said(draft, selfhosted.render_create, _parsed)
        return self._post("/generate", body)

    def created(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed:
        """What it answered: the job as the provider names it."""
        return Placed(self._read_created(answer, selfhosted.parse_created)[0])

    def status(self, placed: Placed) -> ProviderRequest:
        """The request for where the job is."""
        return self._get(f"/status/{segment(placed.id)}")

    def report(self, placed: Placed, answer: ProviderAnswer) -> Report:
        """What it answered."""
        return self._read(answer, selfhosted.parse_status)

    def _headers(self) -> dict[str, str]:
        return {"X-API-Key": self._key}

    def _error(self, status: int, body: Any, headers: Mapping[str, str]) -> FarmError | None:
        return selfhosted.parse_error(status, body, headers)


def _parsed(body: Mapping[str, Any]) -> Draft:
    return selfhosted.in_its_shape(selfhosted.parse_create(body))
