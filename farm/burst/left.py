"""Purchases that go on after their job has left them: cancelled, or rendered here because nothing was known. They are
asked about until it is known what they came to, and asked to stop if their job is over; one that is found while its job
still waits is used after all."""

import logging

from farm.burst.account import ProviderAccount, Sent, handle_of
from farm.burst.context import BurstContext
from farm.jobs.errors import FarmError, Unavailable
from farm.jobs.job import Job
from farm.jobs.purchase import Payer, Purchase, PurchaseEnding, PurchaseNews, payer_without_result
from farm.jobs.states import TERMINAL, State
from farm.wire.report import Report
from monitoring.metrics import PURCHASES

log = logging.getLogger(__name__)

_ENDINGS = {State.SUCCEEDED: PurchaseEnding.DELIVERED, State.CANCELLED: PurchaseEnding.CANCELLED}


class LeftPurchases:
    """One process of the farm looks at a time."""

    def __init__(self, context: BurstContext) -> None:
        self._context = context

    def look(self) -> int:
        """Ask about each of them once. Answers how many are still open. Raises Unavailable."""
        context, open_now = self._context, 0
        if not context.ledger.my_turn("left purchases", context.worker, 2 * context.settings.burst.left_every_s):
            return 0
        for purchase in context.ledger.open_purchases():
            if purchase.current:
                continue
            try:
                open_now += not self._see_to(purchase)
            except Unavailable:
                raise
            except FarmError as error:
                log.error("purchase %s: %s", purchase.nonce, error)
                open_now += 1
        return open_now

    def _see_to(self, purchase: Purchase) -> bool:
        """Whether it is known now what became of it."""
        context, job = self._context, self._context.ledger.find(purchase.job)
        entry = context.entry_of(purchase)
        if entry is None or job is None:
            log.error("purchase %s: its %s is not known any more", purchase.nonce, "job" if entry else "provider")
            return False
        account = ProviderAccount(context, entry, purchase, job.spec)
        if purchase.id is None:
            return self._resolved(account)
        if job.state is State.QUEUED and context.ledger.bought(purchase.nonce, purchase.id) is PurchaseNews.BACK:
            log.info("%s goes back to what was bought of %s", job.id, purchase.provider)
            return True
        report = account.look(account.placed).report
        if report is None:
            return False
        if report.state not in TERMINAL:
            if job.state in TERMINAL:
                # whoever followed it may have ended before he asked, or was not heard
                account.cancel(account.placed, running=report.state is State.RUNNING)
            return False
        self._close(account, job, report)
        return True

    def _resolved(self, account: ProviderAccount) -> bool:
        # its job does not want it: it is looked for, and never ordered by asking
        found = account.resolve(wanted=False)
        if found is None:
            return False
        ledger, nonce = self._context.ledger, account.purchase.nonce
        if found.outcome is Sent.PLACED:
            assert found.placed is not None
            return ledger.bought(nonce, found.placed.id, handle_of(found.placed)) is PurchaseNews.BACK
        account.left()
        return ledger.close_purchase(nonce, found.ending, 0)

    def _close(self, account: ProviderAccount, job: Job, report: Report) -> None:
        purchase, cost = account.purchase, account.cost_of(report)
        account.over(ok=report.state is State.SUCCEEDED, seconds=None, cost=cost)
        payer = payer_without_result(job.state)
        ending = _ENDINGS.get(report.state, PurchaseEnding.FAILED)
        self._context.ledger.close_purchase(purchase.nonce, ending, cost, payer)
        PURCHASES.labels(purchase.provider, "wasted" if payer is Payer.OVERHEAD else ending).inc()
        log.warning("%s of %s came to %.4f dollars and is not used; the %s pays",
                    job.id, purchase.provider, cost / 1e6, payer)  # fmt: skip
