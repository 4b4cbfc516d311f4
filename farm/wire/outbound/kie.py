"""kie.ai, as its client."""

import base64
from collections.abc import Mapping
from typing import Any

from farm.jobs.errors import FarmError
from farm.wire import kie
from farm.wire.http import Answer, Can, File, Placed, Request
from farm.wire.outbound.client import Client
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Report


class Kie(Client):
    dialect = kie.DIALECT
    can = frozenset({Can.BALANCE, Can.UPLOAD, Can.CALLBACK})

    def create(self, order: PurchaseOrder) -> Request:
        body = self._said(order.in_words, kie.render_create, kie.parse_create)
        return self._post("/api/v1/jobs/createTask", body)

    def created(self, order: PurchaseOrder, answer: Answer) -> Placed:
        return Placed(self._read_created(answer, kie.parse_created))

    def status(self, placed: Placed) -> Request:
        return self._get("/api/v1/jobs/recordInfo", taskId=placed.id)

    def report(self, placed: Placed, answer: Answer) -> Report:
        return self._read(answer, kie.parse_status)

    def callback(self, body: Any) -> Report:
        return self._told(body, kie.parse_callback)

    def balance(self) -> Request:
        return self._get("/api/v1/chat/credit")

    def left(self, answer: Answer) -> int:
        return self._read(answer, kie.parse_balance) or 0

    def upload(self, file: File) -> Request:
        body = {
            "base64Data": f"data:{file.content_type};base64,{base64.b64encode(file.data).decode()}",
            "uploadPath": "wanfarm",
            "fileName": file.name,
        }
        return Request("POST", f"{self._upload_base}/api/file-base64-upload", self._headers(), json=body)

    def uploaded(self, answer: Answer) -> str:
        return self._read(answer, kie.parse_uploaded)

    def _error(self, status: int, body: Any, headers: Mapping[str, str]) -> FarmError | None:
        return kie.parse_error(status, body, headers)
