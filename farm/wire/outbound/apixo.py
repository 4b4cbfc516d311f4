"""apixo.ai, as its client. A task is asked for with its model's name."""

from collections.abc import Mapping
from typing import Any

from farm.jobs.errors import FarmError
from farm.wire import apixo
from farm.wire.http import Can, Placed, ProviderAnswer, ProviderRequest, refused
from farm.wire.outbound.client import DialectClient, segment
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Report


class Apixo(DialectClient):
    """Asks a provider that speaks apixo."""

    dialect = apixo.DIALECT
    can = frozenset({Can.BALANCE, Can.CALLBACK})

    def create(self, order: PurchaseOrder) -> ProviderRequest:
        """The create request. Raises as Outbound says."""
        model, body = self._said(order.in_words, apixo.render_create, lambda said: apixo.parse_create(*said))
        return self._post(f"/api/v1/generateTask/{segment(model)}", body)

    def created(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed:
        """What it answered: the job as the provider names it."""
        task_id = self._read_created(answer, apixo.parse_created)
        try:
            return Placed(task_id, model=apixo.render_create(order.in_words)[0])
        except FarmError as error:
            raise refused(error) from error

    def status(self, placed: Placed) -> ProviderRequest:
        """The request for where the job is."""
        return self._get(f"/api/v1/statusTask/{segment(placed.model)}", taskId=placed.id)

    def report(self, placed: Placed, answer: ProviderAnswer) -> Report:
        """What it answered."""
        return self._read(answer, apixo.parse_status)

    def callback(self, body: Any) -> Report:
        """What a webhook of the provider says; it decides nothing."""
        return self._told(body, apixo.parse_callback)

    def balance(self) -> ProviderRequest:
        """The request for what is left in the account."""
        return self._get("/api/v1/apikeys/current-balance")

    def left(self, answer: ProviderAnswer) -> int:
        """Millionths of the provider's unit of money."""
        return self._read(answer, apixo.parse_balance) or 0

    def _error(self, status: int, body: Any, headers: Mapping[str, str]) -> FarmError | None:
        return apixo.parse_error(status, body, headers)
