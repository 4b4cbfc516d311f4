"""OpenAI's /v1/videos, as its client."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from farm.jobs.errors import FarmError
from farm.wire import openai
from farm.wire.http import Can, Placed, ProviderAnswer, ProviderRequest
from farm.wire.outbound.client import DialectClient, segment
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Report


class OpenAi(DialectClient):
    """Asks a provider that speaks OpenAI's video API."""

    dialect = openai.DIALECT
    can = frozenset({Can.CANCEL})

    def create(self, order: PurchaseOrder) -> ProviderRequest:
        """The create request. Raises as Outbound says."""
        body = self._said(order.in_plain_numbers, openai.render_create, openai.parse_create)
        return self._post("/v1/videos", body)

    def created(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed:
        """What it answered: the job as the provider names it."""
        return Placed(self._read_created(answer, openai.parse_created))

    def status(self, placed: Placed) -> ProviderRequest:
        """The request for where the job is."""
        return self._get(f"/v1/videos/{segment(placed.id)}")

    def report(self, placed: Placed, answer: ProviderAnswer) -> Report:
        """What it answered. A result is fetched of the API itself, with the key."""
        told = self._read(answer, openai.parse_status)
        outputs = (replace(one, url=one.url if "://" in one.url else self._base + one.url) for one in told.outputs)
        return replace(told, outputs=tuple(outputs))

    def result_headers(self, url: str) -> Mapping[str, str]:
        """The key, where the result lies at the API."""
        return self._headers() if url.startswith(f"{self._base}/") else {}

    def cancel(self, placed: Placed, *, running: bool) -> ProviderRequest:
        """The request to stop it; `running`: it is no longer in the queue there."""
        return ProviderRequest("DELETE", f"{self._base}/v1/videos/{segment(placed.id)}", self._headers())

    def cancelled(self, placed: Placed, answer: ProviderAnswer) -> None:
        """Raises unless the provider has stopped it."""
        self._read(answer, openai.parse_deleted)

    def _error(self, status: int, body: Any, headers: Mapping[str, str]) -> FarmError | None:
        return openai.parse_error(status, body, headers)
