"""A purchase as the ledger keeps it: one submission to a provider, from the intent to what it cost. All amounts are
millionths of a US dollar."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from farm.jobs.states import State


class PurchaseState(StrEnum):
    """OPEN: its price is held against the caps. CLOSED: what it cost is spent, which may be nothing."""

    OPEN = "open"
    CLOSED = "closed"


class PurchaseEnding(StrEnum):
    """How a purchase was closed."""

    #: no byte of it left this farm
    NOT_SENT = "not_sent"
    #: the provider said no to this job
    REFUSED = "refused"
    #: the provider said no for now: too many requests, an empty account, maintenance
    TURNED_AWAY = "turned_away"
    #: the provider says that it is done
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: an operator, or the provider's list, says that it never arrived
    NEVER_ARRIVED = "never_arrived"


class PurchaseNews(StrEnum):
    """What became of a provider's id. KNOWN: the job is bought by it. BACK: the job had left it, and is bought again.
    LEFT: recorded, and the job goes on without it. SECOND: the submission has another id already. UNKNOWN: there is no
    such purchase."""

    KNOWN = "known"
    BACK = "back"
    LEFT = "left"
    SECOND = "second"
    UNKNOWN = "unknown"


class Payer(StrEnum):
    """Who a purchase is charged to: the tenant, or the farm where the tenant did not get what was bought."""

    TENANT = "tenant"
    OVERHEAD = "overhead"


def payer_without_result(job: State | None) -> Payer:
    """Who pays for what came of a purchase that its job has left, by the job's state. Whoever cancelled has asked for
    it; whoever has his result from here must not pay for another."""
    return Payer.TENANT if job is State.CANCELLED else Payer.OVERHEAD


@dataclass(frozen=True)
class Cap:
    """At most `most` may be held and spent for `scope` ("tenant acme", "provider kie", "farm") in a `period` ("day" or
    "month", of UTC)."""

    scope: str
    period: str
    most: int


@dataclass(frozen=True)
class OverCap:
    """A cap that does not hold a price; `left` of it."""

    cap: Cap
    left: int

    def __str__(self) -> str:
        left, most = f"{self.left / 1e6:.4g}", f"{self.cap.most / 1e6:.4g}"
        return f"{left} dollars are left of the {self.cap.period}'s {most} of {self.cap.scope}"


@dataclass(frozen=True)
class Purchase:
    """intent    what was told when it was bought: provider, key's name, model, match, ...
    details   what the same submission is made from again: addresses of inputs
    price     held while it is open;  cost  what it came to, once closed
    id, handle   what the provider calls it; `told`: what a callback, which nobody believes, calls it
    unsent    who was to send it says that it did not; another may have, where the provider makes one job of both
    settled_by  the operator who closed it; None: what its provider said did
    current   its job is bought by it now; otherwise the job has left it, or is over
    """

    nonce: str
    job: str
    tenant: str
    label: str
    provider: str
    attempt: int
    intent: Mapping[str, Any]
    price: int
    at_ms: int
    state: PurchaseState
    details: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    handle: Mapping[str, Any] = field(default_factory=dict)
    told: str | None = None
    ending: PurchaseEnding | None = None
    cost: int | None = None
    payer: Payer | None = None
    closed_ms: int | None = None
    unsent: bool = False
    settled_by: str | None = None
    current: bool = False
