"""wiro.ai, as its client. Every request is signed where the project has a secret, with a nonce of its own."""

from collections.abc import Mapping
from typing import Any

from farm.jobs.errors import FarmError
from farm.wire import wiro, wiro_auth, wiro_catalog, wiro_task
from farm.wire.http import Can, File, Placed, ProviderAnswer, ProviderRequest
from farm.wire.outbound.client import DialectClient, segment
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Report


class Wiro(DialectClient):
    """Asks a provider that speaks wiro."""

    dialect = wiro.DIALECT
    can = frozenset({Can.CANCEL, Can.UPLOAD, Can.CALLBACK, Can.LOOK_UP})

    def create(self, order: PurchaseOrder) -> ProviderRequest:
        """The create request. Raises as Outbound says."""
        model, body = self._said(order.in_words, wiro.render_create, lambda said: wiro.parse_create(*said))
        return self._post(f"/v1/Run/{segment(model)}", body)

    def created(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed:
        """What it answered: the job as the provider names it."""
        return Placed(*self._read_created(answer, wiro.parse_created))

    def look_up(self, order: PurchaseOrder) -> ProviderRequest:
        """The request that shows whether an order arrived whose answer was lost."""
        return self._post(
            "/v1/Task/List", {"type": "model", "sort": "id", "order": "DESC", "start": "0", "limit": "50"}
        )

    def looked_up(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed | None:
        """The job that the order became; None where the answer shows none, which proves nothing."""
        _, body = self._said(order.in_words, wiro.render_create, lambda said: wiro.parse_create(*said))
        found = [
            report
            for report in self._read(answer, wiro_task.parse_list)
            if isinstance(report.request, Mapping) and wiro.is_request_of(report.request, body)
        ]
        # of two alike nobody knows which one it is
        return Placed(found[0].id, found[0].handle) if len(found) == 1 else None

    def status(self, placed: Placed) -> ProviderRequest:
        """The request for where the job is."""
        return self._post("/v1/Task/Detail", {"taskid": placed.id})

    def report(self, placed: Placed, answer: ProviderAnswer) -> Report:
        """What it answered."""
        return self._read(answer, wiro_task.parse_status)

    def callback(self, body: Any) -> Report:
        """What a webhook of the provider says; it decides nothing."""
        return self._told(body, wiro_task.parse_callback)

    def cancel(self, placed: Placed, *, running: bool) -> ProviderRequest:
        """The request to stop it; `running`: it is no longer in the queue there."""
        return self._post(f"/v1/Task/{'Kill' if running else 'Cancel'}", {"taskid": placed.id})

    def cancelled(self, placed: Placed, answer: ProviderAnswer) -> None:
        """Raises unless the provider has stopped it."""
        self._read(answer, wiro_task.parse_status)

    def upload(self, file: File) -> ProviderRequest:
        """The request that hands a file over."""
        return ProviderRequest("POST", f"{self._upload_base}/v1/File/Upload", self._headers(), files={"file": file})

    def uploaded(self, answer: ProviderAnswer) -> str:
        """The address to name as an input."""
        return self._read(answer, wiro_catalog.parse_uploaded)

    def _headers(self) -> dict[str, str]:
        return wiro_auth.headers(self._key, self._secret)

    def _error(self, status: int, body: Any, headers: Mapping[str, str]) -> FarmError | None:
        return wiro.parse_error(status, body, headers)
