"""One bought job, followed from the moment that its intent is stored until it is the farm's own result, or leaves its
purchase. A step is one exchange with the provider; between steps nothing of it lives but its lease."""

import logging
import random
import time
from collections.abc import Callable
from enum import Enum, auto

from farm.burst import result
from farm.burst.account import ProviderAccount, Sent, Submission, handle_of
from farm.burst.context import BurstContext
from farm.claiming import retry
from farm.jobs.errors import JobFault, Unavailable
from farm.jobs.job import Claim
from farm.jobs.purchase import Payer, Purchase, PurchaseEnding, PurchaseNews
from farm.jobs.states import TERMINAL, Phase, State
from farm.ledger import CommitOutcome, Verdict
from farm.wire.http import Placed
from farm.wire.report import Report
from monitoring.metrics import ATTEMPTS, PURCHASES

log = logging.getLogger(__name__)

#: Redis, the store or a secret is away: soon again
AWAY_S = 2.0
#: a submission of which nothing is known is asked about at first after this long, later less and less often
UNKNOWN_FIRST_S, UNKNOWN_MAX_S = 1.0, 30.0
#: an address that does not answer is asked again after this long, and for as many times; then the job is rendered here
FETCH_PAUSE_S, FETCH_TRIES = 5.0, 20
_PHASES = {State.WAITING: Phase.PROVIDER_QUEUED, State.QUEUED: Phase.PROVIDER_QUEUED}


class Next(Enum):
    """What a step asks for."""

    OVER = auto()
    #: the result is there: `deliver` may be called, by a thread that has time
    DELIVER = auto()


class LeaseGone(Exception):
    """The lease is another's; what this process does about the job counts no more."""


class NotWanted(Exception):
    """The owner cancelled, and the result is not wanted."""


class Followed:
    """Steps of one job are never called at the same time. `fresh`: its submission was not made yet."""

    def __init__(self, claim: Claim, account: ProviderAccount, context: BurstContext, *, fresh: bool = False) -> None:
        self.claim, self.job, self._account, self._context = claim, claim.job, account, context
        self._fresh = fresh
        self._report: Report | None = None
        self._asked = self._missed = self._gone = self._fetches = 0
        self._verdict = Verdict.GO
        self._cancel_asked = False
        #: somebody called the address of the purchase, or settled it: it is read again before the next step
        self.heard_callback = False
        self._seen = time.monotonic()
        self.lease = context.leases.hold(claim, self._heard)

    @property
    def purchase(self) -> Purchase:
        """As it stood when it was last read."""
        return self._account.purchase

    def _heard(self, verdict: Verdict) -> None:
        self._verdict = verdict

    # --- steps
    def step(self) -> float | Next:
        """The next exchange. Answers in how many seconds the one after it is due."""
        try:
            if self._verdict is Verdict.LOST:
                return self._end("lost")
            if self.heard_callback:
                self.heard_callback = False
                self._read_again()
            if self._fresh:
                return self._submit()
            if self.purchase.id is None:
                return self._unknown()
            if self._report is not None and self._report.state is State.SUCCEEDED:
                return Next.DELIVER
            return self._look()
        except Unavailable as error:
            log.warning("%s: %s", self.job.id, error)
            return AWAY_S

    def _submit(self) -> float | Next:
        self._fresh = False
        if self._verdict is Verdict.CANCEL:
            self._account.left()
            return self._leave(PurchaseEnding.NOT_SENT, 0, "cancelled")
        return self._submitted(self._account.submit())

    def _read_again(self) -> None:
        purchase = self._context.ledger.purchase(self.purchase.nonce)
        if purchase is not None:
            self._account.purchase = purchase

    def _submitted(self, sent: Submission) -> float | Next:
        match sent.outcome:
            case Sent.PLACED:
                assert sent.placed is not None
                return self._placed(sent.placed)
            case Sent.UNKNOWN:
                log.error("%s: what became of its submission to %s is not known: %s",
                          self.job.id, self.purchase.provider, sent.words)  # fmt: skip
                self.lease.report(Phase.SUBMIT_UNKNOWN, 0.0)
                return UNKNOWN_FIRST_S
            case Sent.NOT_SENT | Sent.REFUSED:
                log.warning("%s: %s: %s", self.job.id, self.purchase.provider, sent.words)
                self._account.left()
                return self._leave(sent.ending, 0, sent.words)
        raise AssertionError(sent)

    def _placed(self, placed: Placed) -> float | Next:
        """Its id is stored before anything else, whoever holds the lease, for as long as Redis takes."""
        nonce = self.purchase.nonce
        news = retry.redis(lambda: self._context.ledger.bought(nonce, placed.id, handle_of(placed)))
        if news is PurchaseNews.SECOND:
            log.error("%s took one order twice: %s and %s", self.purchase.provider, self.purchase.id, placed.id)
            PURCHASES.labels(self.purchase.provider, "twice").inc()
        self._read_again()
        self.lease.report(Phase.PROVIDER_QUEUED, 0.0)
        return self._pause_s()

    def _unknown(self) -> float | Next:
        if self.purchase.settled_by is not None:
            return self._leave_settled()
        if (found := self._account.resolve(wanted=self._verdict is Verdict.GO)) is not None:
            return self._submitted(found)
        if self._verdict is Verdict.CANCEL or self._age_s() > self._context.settings.burst.unknown_after_s:
            return self._leave(None, 0, "nothing is known of its submission")
        self._asked += 1
        self._read_again()
        return min(UNKNOWN_MAX_S, UNKNOWN_FIRST_S * (1 << min(self._asked, 10)))

    def _look(self) -> float | Next:
        if self._verdict is Verdict.CANCEL and not self._cancel_asked:
            self._cancel_asked = True
            running = self._report is not None and self._report.state is State.RUNNING
            self._account.cancel(self._account.placed, running=running)
        look = self._account.look(self._account.placed)
        if look.report is None:
            return self._unread(gone=look.gone)
        self._report, self._missed, self._gone = look.report, 0, 0
        if look.report.state in TERMINAL:
            return self._over_there(look.report)
        if self.purchase.settled_by is not None:
            return self._leave_settled()
        if self._verdict is Verdict.CANCEL or self._age_s() > self._context.settings.burst.longest_s:
            # it cannot be called back: it goes on there without the job, and what it costs is heard all the same
            return self._leave(None, 0, "cancelled" if self._verdict is Verdict.CANCEL else "it takes too long there")
        self.lease.report(_PHASES.get(look.report.state, Phase.GENERATING), look.report.progress or 0.0)
        return self._pause_s()

    def _unread(self, *, gone: bool) -> float | Next:
        """No poll that failed ends a job that is paid for; a provider that has forgotten it may be asked for long."""
        burst = self._context.settings.burst
        self._missed += 1
        self._gone += gone
        if self._verdict is Verdict.CANCEL:
            return self._leave(None, 0, "cancelled")
        if self._gone and self._age_s() > max(burst.unread_s, burst.unknown_after_s):
            return self._leave(None, 0, "its provider does not know it any more")
        if self._age_s() > burst.longest_s:
            return self._leave(None, 0, "it takes too long there")
        return self._pause_s()

    def _over_there(self, report: Report) -> float | Next:
        ledger, nonce = self._context.ledger, self.purchase.nonce
        cost, good = self._account.cost_of(report), report.state is State.SUCCEEDED
        self._account.over(ok=good, seconds=self._age_s(), cost=cost)
        if cost > self.purchase.price:
            log.error("%s costs more than its settings say: %.4f for %.4f dollars",
                      self.purchase.provider, cost / 1e6, self.purchase.price / 1e6)  # fmt: skip
            PURCHASES.labels(self.purchase.provider, "dearer").inc()
        if report.state is State.SUCCEEDED and self._verdict is not Verdict.CANCEL:
            ledger.close_purchase(nonce, PurchaseEnding.DELIVERED, cost)
            self._read_again()
            PURCHASES.labels(self.purchase.provider, PurchaseEnding.DELIVERED).inc()
            self.lease.report(Phase.DOWNLOADING, 1.0)
            return Next.DELIVER
        ending = {State.SUCCEEDED: PurchaseEnding.DELIVERED, State.CANCELLED: PurchaseEnding.CANCELLED}
        words = report.fault.message if report.fault else str(report.state)
        return self._leave(ending.get(report.state, PurchaseEnding.FAILED), cost, words)

    # --- the result
    def deliver(self) -> float | Next:
        """Fetch the result and make it the job's: minutes at the worst."""
        assert self._report is not None
        try:
            outcome = result.publish(self.claim, self._account, self._report, self._context, self._check)
        except Unavailable as error:
            log.warning("%s: %s", self.job.id, error)
            return AWAY_S
        except (LeaseGone, NotWanted, JobFault, result.NotYetHere, result.Unusable) as error:
            return self._undelivered(error)
        endings = {CommitOutcome.FENCED: "lost", CommitOutcome.CANCELLED: "cancelled"}
        return self._end(endings.get(outcome, "committed"))

    def _undelivered(self, error: Exception) -> float | Next:
        match error:
            case result.NotYetHere():
                return self._not_here(str(error))
            case result.Unusable():
                return self._unusable(str(error))
            case NotWanted():
                return self._leave(PurchaseEnding.DELIVERED, self.purchase.cost or 0, "cancelled")
            case JobFault():
                _, permits = self._context.ledger.fail(self.job.id, self.claim.attempt, error)
                self._context.permits.publish(permits)
                return self._end("failed")
        return self._end("lost")

    def _not_here(self, words: str) -> float | Next:
        self._fetches += 1
        log.warning("%s: its result at %s: %s", self.job.id, self.purchase.provider, words)
        if self._fetches >= FETCH_TRIES:
            return self._unusable(words)
        # asked again: some providers tell a fresh address at each look
        look = self._account.look(self._account.placed)
        if look.report is not None and look.report.urls:
            self._report = look.report
        return FETCH_PAUSE_S

    def _unusable(self, words: str) -> float | Next:
        """It was paid for and is of no use: the farm pays, and the job is rendered here."""
        log.error("%s: what %s delivered is of no use: %s", self.job.id, self.purchase.provider, words)
        PURCHASES.labels(self.purchase.provider, "unusable").inc()
        self._context.ledger.close_purchase(
            self.purchase.nonce, PurchaseEnding.DELIVERED, self.purchase.cost or 0, Payer.OVERHEAD
        )
        return self._leave(PurchaseEnding.DELIVERED, self.purchase.cost or 0, words)

    def _check(self) -> None:
        if self._verdict is Verdict.LOST:
            raise LeaseGone
        if self._verdict is Verdict.CANCEL:
            raise NotWanted

    # --- ends
    def _leave(self, ending: PurchaseEnding | None, cost: int, words: str) -> Next:
        """The job goes back to its own pool, or ends if it is being cancelled."""
        outcome, permits = retry.redis(
            lambda: self._context.ledger.unbuy(self.job.id, self.claim.attempt, self.purchase.nonce, ending, cost),
            self._only_while_ours,
        )
        self._context.permits.publish(permits)
        PURCHASES.labels(self.purchase.provider, ending or "left").inc()
        log.info("%s left %s: %s (%s)", self.job.id, self.purchase.provider, words, outcome)
        return self._end("left")

    def _leave_settled(self) -> Next:
        self._account.left()
        return self._leave(None, 0, "an operator settled it")

    def _only_while_ours(self) -> None:
        if self._verdict is Verdict.LOST:
            raise Unavailable("the lease ran out")

    def release(self) -> None:
        """Hand it to whoever comes next, at once: this process ends."""
        self.lease.drop()
        self._context.ledger.release(self.job.id, self.claim.attempt)

    def _end(self, ending: str) -> Next:
        self.lease.drop()
        ATTEMPTS.labels("burst", ending).inc()
        return Next.OVER

    # --- time
    def _age_s(self) -> float:
        """Since the intent was stored; the ledger's clock began it, this machine's goes on."""
        return (self.job.read_ms - self.purchase.at_ms) / 1000 + time.monotonic() - self._seen

    def _pause_s(self) -> float:
        """Until the next look: longer as the job gets older, and never together with all others."""
        entry, age_s = self._account.entry, self._age_s()
        if age_s < entry.poll_first_s:
            return jittered(entry.poll_first_s)
        return jittered(min(entry.poll_max_s, max(entry.poll_first_s, 0.1 * age_s)))


def jittered(seconds: float, draw: Callable[[], float] = random.random) -> float:
    """Between 0.8 and 1.2 of it."""
    return seconds * (0.8 + 0.4 * draw())
