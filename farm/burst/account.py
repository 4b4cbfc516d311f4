"""One purchase's dealings with its provider: the account that it was made with, and what is asked and answered there.
It changes no job; the gate and the metrics hear how it went."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from farm.burst.context import BurstContext
from farm.jobs.errors import FarmError
from farm.jobs.purchase import Purchase, PurchaseEnding
from farm.jobs.spec import JobSpec
from farm.jobs.states import State
from farm.providers.carrier import NoAnswer, NotSent, carry
from farm.providers.entry import Entry
from farm.wire.http import Can, Outbound, Placed, ProviderAnswer, ProviderRefused, ProviderRequest, Unreadable, Why
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Report
from monitoring.metrics import PROVIDER_POLLS, PROVIDER_SUBMISSIONS

log = logging.getLogger(__name__)

#: a provider remembers an idempotency key for a day (farm.ledger.scripts.IDEMPOTENCY_S); asked again only while it does
REMEMBERED_MS = 20 * 3600 * 1000
#: an order that its provider does not know by then is not on its way any more
LOST_MS = 60_000
#: refusals that are about the account or the moment, and say nothing about the order
_OF_THE_MOMENT = frozenset({Why.KEY, Why.CREDIT, Why.BUSY, Why.AWAY})


class Sent(StrEnum):
    """What became of a submission, as the socket and the answer tell."""

    PLACED = "placed"
    NOT_SENT = "not_sent"
    REFUSED = "refused"
    #: the provider may have taken it
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Submission:
    """`placed` of one that was; `why` of one that was refused; `words` for logs and operators."""

    outcome: Sent
    placed: Placed | None = None
    why: Why | None = None
    words: str = ""

    @property
    def ending(self) -> PurchaseEnding:
        """How its purchase is closed where nothing came of it."""
        if self.outcome is Sent.NOT_SENT:
            return PurchaseEnding.NOT_SENT
        return PurchaseEnding.TURNED_AWAY if self.why in _OF_THE_MOMENT else PurchaseEnding.REFUSED


@dataclass(frozen=True)
class Look:
    """What a poll found. Without a report it was a missed poll; `gone`: the provider says that it knows no such job."""

    report: Report | None = None
    gone: bool = False
    words: str = ""


class ProviderAccount:
    """Raises KeyMissing when it is made where the secret is not there."""

    def __init__(self, context: BurstContext, entry: Entry, purchase: Purchase, spec: JobSpec) -> None:
        self._context, self.entry, self.purchase = context, entry, purchase
        self.key_name = str(purchase.intent["key"])
        self._client: Outbound = context.providers.client_of(entry.name, self.key_name)
        self._order = PurchaseOrder(
            spec,
            inputs=purchase.details.get("inputs", {}),
            key=purchase.nonce,
            webhook_url=purchase.details.get("callback"),
            dialect_data=purchase.intent.get("dialect_data", {}),
            model=purchase.intent["model"],
        )

    def can(self, what: Can) -> bool:
        """Whether the dialect has it."""
        return what in self._client.can

    # --- the one request that costs money
    def submit(self) -> Submission:
        """Send the order. Sent once for each purchase, or again only where the dialect makes one job of it."""
        sent = self._submitted()
        PROVIDER_SUBMISSIONS.labels(self.entry.name, sent.outcome).inc()
        if sent.outcome in (Sent.NOT_SENT, Sent.UNKNOWN):
            self._went(ok=False)
        return sent

    def _submitted(self) -> Submission:
        try:
            placed = self._client.created(self._order, self._carry(self._client.create(self._order)))
        except NotSent as error:
            return Submission(Sent.NOT_SENT, words=str(error))
        except ProviderRefused as no:
            self._context.gate.penalise(self.entry.name, self.key_name, no.why, no.retry_after_s, no.message)
            return Submission(Sent.REFUSED, why=no.why, words=str(no))
        except (NoAnswer, Unreadable) as error:
            return Submission(Sent.UNKNOWN, words=str(error))
        return Submission(Sent.PLACED, placed)

    # --- what became of one that got no answer
    def resolve(self, *, wanted: bool) -> Submission | None:
        """Ask whether a submission of which nothing is known arrived; None: still not known. Where it is `wanted`, the
        same order may be sent again to a provider that makes one job of both."""
        return self._by_callback() or self._by_buyer() or self._by_list() or (self._by_key() if wanted else None)

    def _by_callback(self) -> Submission | None:
        """A callback named a job. It is ours if our account can read it and it is the job that was ordered."""
        told = self.purchase.told
        if told is None:
            return None
        placed = Placed(told, model=self._client_model)
        report = self.look(placed).report
        if report is None or not self._is_ours(report):
            return None
        return Submission(Sent.PLACED, Placed(told, handle=report.handle, model=placed.model))

    def _is_ours(self, report: Report) -> bool:
        told = report.prompt or (str(report.request) if report.request else "")
        prompt = self._order.spec.prompt
        return not told or not prompt or prompt in told or repr(prompt)[1:-1] in told

    def _by_buyer(self) -> Submission | None:
        """Who was to send it did not; nor did anybody else, but for one who sends it again under its key."""
        if not self.purchase.unsent or self.purchase.told is not None or self.can(Can.IDEMPOTENT):
            return None
        return Submission(Sent.NOT_SENT, words="its buyer heard too late that it was stored")

    def _by_key(self) -> Submission | None:
        if not self.can(Can.IDEMPOTENT) or self._age_ms() > REMEMBERED_MS:
            return None
        sent = self._submitted()
        if sent.outcome is Sent.PLACED or (sent.outcome is Sent.REFUSED and sent.why not in _OF_THE_MOMENT):
            return sent
        return None

    def _by_list(self) -> Submission | None:
        if not self.can(Can.LOOK_UP):
            return None
        try:
            found = self._client.looked_up(self._order, self._carry(self._client.look_up(self._order)))
        except ProviderRefused as no:
            if no.why is Why.UNKNOWN_JOB and LOST_MS < self._age_ms() < REMEMBERED_MS:
                return Submission(Sent.NOT_SENT, words="the provider has no such order")
            return None
        except (NotSent, NoAnswer, Unreadable) as error:
            log.info("%s: looking for %s: %s", self.entry.name, self.purchase.nonce, error)
            return None
        return None if found is None else Submission(Sent.PLACED, found)

    def _age_ms(self) -> float:
        return time.time() * 1000 - self.purchase.at_ms

    # --- afterwards
    @property
    def placed(self) -> Placed:
        """The job as the provider names it; only of a purchase that has an id."""
        assert self.purchase.id is not None
        handle = self.purchase.handle
        # an operator who read the id on the provider's page knows no more than that
        return Placed(self.purchase.id, handle.get("handle", ""), handle.get("model") or self._client_model)

    @property
    def _client_model(self) -> str:
        return str(self.purchase.intent.get("sold", ""))

    def look(self, placed: Placed) -> Look:
        """Ask where the job is. Nothing that goes wrong here says anything about the job."""
        look = self._looked(placed)
        outcome = "read" if look.report else "unknown_job" if look.gone else "missed"
        if look.report and look.report.unknown_word:
            outcome = "unknown_word"
            log.error("%s: no document has its status %.40r of %s: taken for not over yet",
                      self.entry.name, look.report.unknown_word, placed.id)  # fmt: skip
        PROVIDER_POLLS.labels(self.entry.name, outcome).inc()
        if look.words:
            log.info("%s: asking about %s: %s", self.entry.name, placed.id, look.words)
        return look

    def _looked(self, placed: Placed) -> Look:
        try:
            return Look(self._client.report(placed, self._carry(self._client.status(placed))))
        except ProviderRefused as no:
            if no.why in (Why.BUSY, Why.AWAY):
                self._context.gate.penalise(self.entry.name, self.key_name, no.why, no.retry_after_s, no.message)
            return Look(gone=no.why is Why.UNKNOWN_JOB, words=str(no))
        except (NotSent, NoAnswer, Unreadable) as error:
            return Look(words=str(error))

    def result_headers(self, url: str) -> Mapping[str, str]:
        """As of the client."""
        return self._client.result_headers(url)

    def cancel(self, placed: Placed, *, running: bool) -> None:
        """Ask the provider to stop, where it can; the next look says what came of it."""
        if not self.can(Can.CANCEL):
            return
        try:
            self._client.cancelled(placed, self._carry(self._client.cancel(placed, running=running)))
        except FarmError as error:
            log.info("%s: cancelling %s: %s", self.entry.name, placed.id, error)

    def cost_of(self, report: Report) -> int:
        """Millionths of a dollar that a job which is over came to: as the provider says; where it says nothing, the
        price of one that was delivered, and nothing of any other."""
        said = None if report.credits_micro is None else self.entry.usd_micro(report.credits_micro)
        if said is not None:
            return max(0, said)
        return self.purchase.price if report.state is State.SUCCEEDED else 0

    def over(self, *, ok: bool, seconds: float | None, cost: int) -> None:
        """The job is over there, and came to `cost`: its place is free, and its provider is judged by it."""
        self._context.gate.give(self.entry.name, self.key_name, self.purchase.nonce)
        self._went(ok=ok, seconds=seconds, lost=cost / self.purchase.price if self.purchase.price else 0.0)

    def left(self) -> None:
        """Nothing is at the provider: its place is free."""
        self._context.gate.give(self.entry.name, self.key_name, self.purchase.nonce)

    def _went(self, *, ok: bool, seconds: float | None = None, lost: float = 0.0) -> None:
        model = str(self.purchase.intent["model"])
        self._context.gate.went(self.entry.name, model, ok=ok, holder=self.purchase.nonce, seconds=seconds, lost=lost)

    def _carry(self, request: ProviderRequest) -> ProviderAnswer:
        return carry(request, self.entry.timeout_s)


def handle_of(placed: Placed) -> Mapping[str, Any]:
    """What the ledger keeps of a placed job beside its id."""
    return {name: value for name, value in (("handle", placed.handle), ("model", placed.model)) if value}
