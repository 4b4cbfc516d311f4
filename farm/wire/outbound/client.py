"""What the client sides of all dialects have in common: how answers are read, and that an order is said whole."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote, urlencode

from farm.jobs.draft import Draft
from farm.jobs.errors import FarmError
from farm.wire.http import (
    Can,
    Estimate,
    File,
    NotOffered,
    Placed,
    ProviderAnswer,
    ProviderRefused,
    ProviderRequest,
    Unreadable,
    Why,
    refused,
)
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Report

Read = TypeVar("Read")
#: what an order may not lose on its way into a dialect. Not the seed: whether it was promised no codec knows
_SAID = (
    *("prompt", "task", "negative_prompt", "width", "height", "resolution", "frames", "seconds", "fps"),
    *("steps", "guidance", "guidance_2", "shift"),
)


class DialectClient:
    """See farm.wire.http.Outbound; a dialect fills in what it has."""

    dialect: ClassVar[str]
    can: ClassVar[frozenset[Can]] = frozenset()

    def __init__(self, base_url: str, key: str, secret: str | None = None, upload_url: str | None = None) -> None:
        """`secret`: where requests are signed with a second one. `upload_url`: where files go to another host."""
        self._base, self._key, self._secret = base_url.rstrip("/"), key, secret
        self._upload_base = (upload_url or base_url).rstrip("/")

    # --- of each dialect

    def create(self, order: PurchaseOrder) -> ProviderRequest:
        """The create request. Raises as Outbound says."""
        raise NotImplementedError

    def created(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed:
        """What it answered: the job as the provider names it."""
        raise NotImplementedError

    def look_up(self, order: PurchaseOrder) -> ProviderRequest:
        """The request that shows whether an order arrived whose answer was lost."""
        raise NotOffered(self.dialect, Can.LOOK_UP)

    def looked_up(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed | None:
        """The job that the order became; None where the answer shows none, which proves nothing."""
        raise NotOffered(self.dialect, Can.LOOK_UP)

    def status(self, placed: Placed) -> ProviderRequest:
        """The request for where the job is."""
        raise NotImplementedError

    def report(self, placed: Placed, answer: ProviderAnswer) -> Report:
        """What it answered."""
        raise NotImplementedError

    def result_headers(self, url: str) -> Mapping[str, str]:
        """What a result's address has to be asked with; nothing where the address itself is the secret."""
        return {}

    def callback(self, body: Any) -> Report:
        """What a webhook of the provider says; it decides nothing."""
        raise NotOffered(self.dialect, Can.CALLBACK)

    def cancel(self, placed: Placed, *, running: bool) -> ProviderRequest:
        """The request to stop it; `running`: it is no longer in the queue there."""
        raise NotOffered(self.dialect, Can.CANCEL)

    def cancelled(self, placed: Placed, answer: ProviderAnswer) -> None:
        """Raises unless the provider has stopped it."""
        raise NotOffered(self.dialect, Can.CANCEL)

    def balance(self) -> ProviderRequest:
        """The request for what is left in the account."""
        raise NotOffered(self.dialect, Can.BALANCE)

    def left(self, answer: ProviderAnswer) -> int:
        """Millionths of the provider's unit of money."""
        raise NotOffered(self.dialect, Can.BALANCE)

    def estimate(self, order: PurchaseOrder) -> ProviderRequest:
        """The request for what an order would cost."""
        raise NotOffered(self.dialect, Can.ESTIMATE)

    def estimated(self, answer: ProviderAnswer) -> Estimate:
        """What it answered."""
        raise NotOffered(self.dialect, Can.ESTIMATE)

    def upload(self, file: File) -> ProviderRequest:
        """The request that hands a file over."""
        raise NotOffered(self.dialect, Can.UPLOAD)

    def uploaded(self, answer: ProviderAnswer) -> str:
        """The address to name as an input."""
        raise NotOffered(self.dialect, Can.UPLOAD)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"}

    def _error(self, status: int, body: Any, headers: Mapping[str, str]) -> FarmError | None:
        """The codec's parse_error."""
        raise NotImplementedError

    # --- what they are made of

    def _get(self, path: str, **query: str) -> ProviderRequest:
        text = f"?{urlencode(query)}" if query else ""
        return ProviderRequest("GET", f"{self._base}{path}{text}", self._headers())

    def _post(self, path: str, body: Any, **headers: str) -> ProviderRequest:
        return ProviderRequest("POST", f"{self._base}{path}", self._headers() | headers, json=body)

    def _read(self, answer: ProviderAnswer, parse: Callable[[Any], Read]) -> Read:
        """What an answer says. A codec that finds an error in it has read it; one that finds nothing has not."""
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        body = answer.json()
        try:
            read = self._told(body, parse)
        except ProviderRefused:
            # a codec reads bodies: how long to wait stands in a header, also of an error that came as HTTP 200
            if no := self._no(answer.status, body, answer.headers):
                raise no from None
            raise
        if read is None:
            raise self._no(answer.status, body, answer.headers) or Unreadable("the answer does not say it")
        return read

    def _told(self, body: Any, parse: Callable[[Any], Read]) -> Read:
        try:
            read = parse(body)
        except Unreadable:
            raise
        except FarmError as error:
            raise self._refused(error) from None
        return self._told_of(read) if isinstance(read, Report) else read  # type: ignore[return-value]

    def _told_of(self, report: Report) -> Report:
        fault, word = report.fault, self._without_secrets(report.unknown_word)
        if fault is not None:
            fault = replace(fault, message=self._without_secrets(fault.message))
        return replace(report, fault=fault, unknown_word=word)

    def _refused(self, error: FarmError) -> ProviderRefused:
        no = refused(error)
        no.message = self._without_secrets(no.message)
        return no

    def _without_secrets(self, text: str) -> str:
        """A provider may repeat them in its words."""
        for secret in (self._key, self._secret):
            if secret:
                text = text.replace(secret, "<key>")
        return text

    def _read_created(self, answer: ProviderAnswer, parse: Callable[[Any], Read]) -> Read:
        """The same of a request that costs money: an error of the server says nothing about whether it was done."""
        if answer.status >= 500 or answer.status == 408:
            raise Unreadable(f"HTTP {answer.status}")
        return self._read(answer, parse)

    def _refusal(self, answer: ProviderAnswer) -> FarmError:
        try:
            body = answer.json()
        except Unreadable:
            body = None  # a proxy's page: the status is all that it says
        return self._no(answer.status, body, answer.headers) or Unreadable(f"HTTP {answer.status}")

    def _no(self, status: int, body: Any, headers: Mapping[str, str]) -> ProviderRefused | None:
        error = self._error(status, body, headers)
        return None if error is None else self._refused(error)

    def _said(self, draft: Draft, render: Callable[[Draft], Read], parse: Callable[[Read], Draft]) -> Read:
        """The request body for an order. ProviderRefused where the dialect cannot say all of it: it is read back and
        compared."""
        try:
            body = render(draft)
            back = parse(body)
        except FarmError as error:
            raise refused(error) from error
        for name in _SAID:
            given, said = getattr(draft, name), getattr(back, name)
            if given is not None and said != given and not (name == "task" and said is None):
                raise ProviderRefused(Why.INPUT, f"{self.dialect} cannot be asked for {name} {given!r}")
        if draft.aspect is not None and (back.aspect is None or abs(back.aspect - draft.aspect) > 1e-6):
            raise ProviderRefused(Why.INPUT, f"{self.dialect} has no word for an aspect of {draft.aspect:.4g}")
        if lost := set(draft.inputs) - set(back.inputs):
            raise ProviderRefused(Why.INPUT, f"{self.dialect} takes no {', '.join(sorted(lost))}")
        if dict(draft.options) != dict(back.options):
            raise ProviderRefused(Why.INPUT, f"{self.dialect} takes no options")
        return body


def segment(text: str) -> str:
    """One segment of a path; slashes of a model's name are its own."""
    return quote(text, safe="/")
