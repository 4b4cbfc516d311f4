"""The outbound port: what is sent to a provider and what it answers, without an HTTP library, and the one protocol that
every dialect's client implements (farm/wire/outbound). Pure: a client makes requests and reads answers, and whoever has
the sockets carries them.

What a provider says is never told as the tenant's own fault: none of these errors is a RequestError.

FarmError
├── Unreadable       an answer that nobody can read. Of a request that costs money: whether it was done is not known
├── ProviderRefused  an answer that says no, and why
└── NotOffered       the dialect has no such request
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from farm.jobs import errors
from farm.jobs.errors import FarmError
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Report


@dataclass(frozen=True)
class File:
    """A part of a multipart body."""

    name: str
    content_type: str
    data: bytes


@dataclass(frozen=True)
class ProviderRequest:
    """`json` or `files` is the body, or neither. The headers carry the key: a request is never logged whole."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Any = None
    files: Mapping[str, File] = field(default_factory=dict)


@dataclass(frozen=True)
class ProviderAnswer:
    """What came back, whole."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """Raises Unreadable."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Unreadable(f"HTTP {self.status}, and no JSON") from None


class Unreadable(FarmError):
    """An answer in no form that the dialect has."""


class Why(StrEnum):
    """What a refusal is about: what a farm does next depends on it."""

    KEY = "key"  # the key is wrong, or may not do this
    CREDIT = "credit"  # the farm's account there is empty
    BUSY = "busy"  # too many requests or jobs; see retry_after_s
    AWAY = "away"  # cannot serve now; see retry_after_s
    MODEL = "model"  # no such model, or not at the moment
    UNKNOWN_JOB = "unknown_job"
    INPUT = "input"  # this job is not taken there, whoever asks


@dataclass
class ProviderRefused(FarmError):
    """`message` is the provider's, for operators and logs; a tenant is told in the farm's own words."""

    why: Why
    message: str
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return f"{self.why}: {self.message}"


@dataclass
class NotOffered(FarmError):
    """A dialect has no such call."""

    dialect: str
    what: str

    def __str__(self) -> str:
        return f"{self.dialect} has no {self.what}"


_WHY: tuple[tuple[type[FarmError], Why], ...] = (
    (errors.Unauthorized, Why.KEY),
    (errors.Forbidden, Why.KEY),
    (errors.PaymentRequired, Why.CREDIT),
    (errors.TooMany, Why.BUSY),
    (errors.Unavailable, Why.AWAY),
    (errors.ModelUnavailable, Why.MODEL),
    (errors.NotFound, Why.UNKNOWN_JOB),
    (FarmError, Why.INPUT),
)


def refused(error: FarmError) -> ProviderRefused:
    """What a codec read as one of the farm's own errors, as a provider's."""
    why = next(why for kind, why in _WHY if isinstance(error, kind))
    return ProviderRefused(why, str(error), getattr(error, "retry_after_s", None))


class Can(StrEnum):
    """What a dialect has beside submitting and asking."""

    CANCEL = "cancel"
    BALANCE = "balance"
    ESTIMATE = "estimate"
    UPLOAD = "upload"
    CALLBACK = "callback"
    LOOK_UP = "look-up of a submission"
    #: the same create request, sent again under its key, is the same job
    IDEMPOTENT = "idempotent"


@dataclass(frozen=True)
class Placed:
    """A job as its provider names it: an id, with what else its dialect asks with."""

    id: str
    handle: str = ""
    model: str = ""


@dataclass(frozen=True)
class Estimate:
    """Millionths of the provider's unit of money; `exact`: it will cost this."""

    credits_micro: int
    exact: bool


class Outbound(Protocol):
    """One dialect, towards one account. Requests raise NotOffered, and `create` ProviderRefused for an order that the
    dialect cannot say (nothing of it is left out silently); readings raise Unreadable or ProviderRefused, and nothing
    else."""

    dialect: ClassVar[str]
    can: ClassVar[frozenset[Can]]

    def create(self, order: PurchaseOrder) -> ProviderRequest:
        """The create request. Raises as Outbound says."""
        ...

    def created(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed:
        """Unreadable: it may have been accepted."""
        ...

    def look_up(self, order: PurchaseOrder) -> ProviderRequest:
        """The request that shows whether an order arrived whose answer was lost."""
        ...

    def looked_up(self, order: PurchaseOrder, answer: ProviderAnswer) -> Placed | None:
        """The job that the order became; None where the answer shows none, which proves nothing. ProviderRefused
        (UNKNOWN_JOB): it did not arrive."""
        ...

    def status(self, placed: Placed) -> ProviderRequest:
        """The request for where the job is."""
        ...

    def report(self, placed: Placed, answer: ProviderAnswer) -> Report:
        """What it answered."""
        ...

    def result_headers(self, url: str) -> Mapping[str, str]:
        """What a result's address has to be asked with; nothing where the address itself is the secret."""
        ...

    def callback(self, body: Any) -> Report:
        """What a webhook of the provider says; it decides nothing."""
        ...

    def cancel(self, placed: Placed, *, running: bool) -> ProviderRequest:
        """The request to stop it; `running`: it is no longer in the queue there."""
        ...

    def cancelled(self, placed: Placed, answer: ProviderAnswer) -> None:
        """Raises unless the provider has stopped it."""
        ...

    def balance(self) -> ProviderRequest:
        """The request for what is left in the account."""
        ...

    def left(self, answer: ProviderAnswer) -> int:
        """Millionths of the provider's unit of money."""
        ...

    def estimate(self, order: PurchaseOrder) -> ProviderRequest:
        """The request for what an order would cost."""
        ...

    def estimated(self, answer: ProviderAnswer) -> Estimate:
        """What it answered."""
        ...

    def upload(self, file: File) -> ProviderRequest:
        """The request that hands a file over."""
        ...

    def uploaded(self, answer: ProviderAnswer) -> str:
        """The address to name as an input."""
        ...
