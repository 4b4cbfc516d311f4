"""kie.ai, as its client."""

import base64
from collections.abc import Mapping
from typing import Any

from farm.jobs.errors import FarmError
from farm.wire import kie
from farm.wire.http import Can, File, Placed, ProviderAnswer, ProviderRequest
from farm.wire.outbound.client import DialectClient
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Report


class Kie(DialectClient):
    """Asks a provider that speaks kie."""

    dialect = kie.DIALECT
    can = frozenset({Can.BALANCE, Can.UPLOAD, Can.CALLBACK})

    def create(self, order: PurchaseOrder) -> ProviderRequest:
        """The create request. Raises as Outbound says."""
        body = self._said(order.in_words, kie.render_create, kie.parse_create)
        return self._post("/api/v1/jobs/createTask", body)

    def created(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed:
        """What it answered: the job as the provider names it."""
        return Placed(self._read_created(answer, kie.parse_created))

    def status(self, placed: Placed) -> ProviderRequest:
        """The request for where the job is."""
        return self._get("/api/v1/jobs/recordInfo", taskId=placed.id)

    def report(self, placed: Placed, answer: ProviderAnswer) -> Report:
        """What it answered."""
        return self._read(answer, kie.parse_status)

    def callback(self, body: Any) -> Report:
        """What a webhook of the provider says; it decides nothing."""
        return self._told(body, kie.parse_callback)

    def balance(self) -> ProviderRequest:
        """The request for what is left in the account."""
        return self._get("/api/v1/chat/credit")

    def left(self, answer: ProviderAnswer) -> int:
        """Millionths of the provider's unit of money."""
        return self._read(answer, kie.parse_balance) or 0

    def upload(self, file: File) -> ProviderRequest:
        """The request that hands a file over."""
        body = {
            "base64Data": f"data:{file.content_type};base64,{base64.b64encode(file.data).decode()}",
            "uploadPath": "wanfarm",
            "fileName": file.name,
        }
        return ProviderRequest("POST", f"{self._upload_base}/api/file-base64-upload", self._headers(), json=body)

    def uploaded(self, answer: ProviderAnswer) -> str:
        """The address to name as an input."""
        return self._read(answer, kie.parse_uploaded)

    def _error(self, status: int, body: Any, headers: Mapping[str, str]) -> FarmError | None:
        return kie.parse_error(status, body, headers)
