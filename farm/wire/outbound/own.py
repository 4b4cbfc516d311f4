"""Another Wanfarm, as its client. Its Idempotency-Key makes a create request that got no answer one to send again."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from farm.jobs import errors
from farm.jobs.draft import Draft
from farm.jobs.errors import FarmError, FaultCode
from farm.jobs.states import Phase, State
from farm.wire import own
from farm.wire.error_table import Row, error_of
from farm.wire.http import Can, NotOffered, Placed, ProviderAnswer, ProviderRequest, Unreadable
from farm.wire.outbound.client import DialectClient, segment
from farm.wire.own_views import JobView
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Fault, Output, Report, credits_from

_ERRORS = tuple(
    Row(kind, kind.http_status, kind.http_status)
    for kind in (
        *(errors.Unauthorized, errors.PaymentRequired, errors.Forbidden, errors.NotFound, errors.Conflict),
        *(errors.TooLarge, errors.InvalidRequest, errors.TooMany),
    )
)


class Own(DialectClient):
    """Asks another farm of this kind."""

    dialect = own.DIALECT
    can = frozenset({Can.CANCEL, Can.BALANCE, Can.IDEMPOTENT, Can.LOOK_UP})

    def create(self, order: PurchaseOrder) -> ProviderRequest:
        """The create request. Raises as Outbound says."""
        body = self._said(order.in_numbers, own.render_create, _parsed)
        body.pop("webhook_url", None)
        body |= {"webhook_url": order.webhook_url} if order.webhook_url else {}
        # two farms that buy from each other would hand one job on for ever
        body["external"] = "never"
        return self._post("/v1/jobs", body, **({"Idempotency-Key": order.key} if order.key else {}))

    def created(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed:
        """What it answered: the job as the provider names it."""
        return Placed(self._read_created(answer, _report).id)

    def look_up(self, order: PurchaseOrder) -> ProviderRequest:
        """The request that shows whether an order arrived whose answer was lost."""
        if not order.key:
            raise NotOffered(self.dialect, Can.LOOK_UP)
        return self._get("/v1/jobs", idempotency_key=order.key)

    def looked_up(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed | None:
        """The job that the order became. ProviderRefused (UNKNOWN_JOB) where there is none: a farm knows its keys."""

        def read(body: Any) -> Placed | None:
            jobs = body.get("data") if isinstance(body, Mapping) else None
            if not isinstance(jobs, list):
                return None
            if not jobs:
                raise errors.NotFound("no job with this key")
            return Placed(_report(jobs[0]).id)

        return self._read(answer, read)

    def status(self, placed: Placed) -> ProviderRequest:
        """The request for where the job is."""
        return self._get(f"/v1/jobs/{segment(placed.id)}")

    def report(self, placed: Placed, answer: ProviderAnswer) -> Report:
        """What it answered."""
        return self._read(answer, _report)

    def cancel(self, placed: Placed, *, running: bool) -> ProviderRequest:
        """The request to stop it; `running`: it is no longer in the queue there."""
        return self._post(f"/v1/jobs/{segment(placed.id)}/cancel", None)

    def cancelled(self, placed: Placed, answer: ProviderAnswer) -> None:
        """Raises unless the provider has stopped it."""
        self._read(answer, _report)

    def balance(self) -> ProviderRequest:
        """The request for what is left in the account."""
        return self._get("/v1/usage", limit="1")

    def left(self, answer: ProviderAnswer) -> int:
        """Millionths of the provider's unit of money."""
        return self._read(answer, _available) or 0

    def _error(self, status: int, body: Any, headers: Mapping[str, str]) -> FarmError | None:
        fields = body if isinstance(body, Mapping) else {}
        message = str(fields.get("detail") or f"HTTP {status}")
        if str(fields.get("type") or "").endswith(errors.ModelUnavailable.slug):
            return errors.ModelUnavailable(message)
        return error_of(_ERRORS, status, message, headers)


def _parsed(body: Mapping[str, Any]) -> Draft:
    return own.parse_create(json.dumps(body).encode())


def _available(body: Any) -> int | None:
    credit = body.get("credit") if isinstance(body, Mapping) else None
    return credits_from(credit.get("available")) if isinstance(credit, Mapping) else None


def _in_known_words(body: Any) -> tuple[Any, str]:
    """What another farm says, which may be of a later version: the state that is not known here, apart."""
    if not isinstance(body, Mapping):
        return body, ""
    fields, told = dict(body), body.get("state")
    if fields.get("phase") not in Phase.__members__.values():
        fields.pop("phase", None)
    if not isinstance(told, str) or told in State.__members__.values():
        return fields, ""
    return fields | {"state": State.RUNNING}, told


def _report(body: Any) -> Report:
    fields, unknown_word = _in_known_words(body)
    try:
        # `strict` is for requests: here times and words are the JSON that they are
        job = JobView.model_validate(fields, strict=False)
    except ValidationError as error:
        raise Unreadable(f"the answer carries no job: {error.error_count()} fields are none of one's") from error
    result, fault = job.result, job.error
    known = FaultCode.__members__.values()
    return Report(
        id=job.id,
        state=job.state,
        model=job.model,
        phase=job.phase,
        progress=job.progress,
        step=job.step,
        steps=job.steps,
        outputs=(Output(url=result.video_url, name="video.mp4", content_type="video/mp4", size=result.size),)
        if result
        else (),
        fault=Fault(FaultCode(fault.code) if fault.code in known else FaultCode.PROVIDER_FAILED, fault.message)
        if fault
        else None,
        unknown_word=unknown_word,
        prompt=job.prompt,
        size=(job.width, job.height) if job.width and job.height else None,
        seconds=job.duration_s,
        credits_micro=credits_from(job.cost),
        created_ms=round(job.created_at.timestamp() * 1000),
        finished_ms=None if job.finished_at is None else round(job.finished_at.timestamp() * 1000),
    )
