"""Keeping leases: heartbeats for every attempt that this process holds, from a thread that does nothing else. What a
verdict means for the work is the holder's business."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from farm.jobs.errors import Unavailable
from farm.jobs.job import Claim
from farm.jobs.states import Phase
from farm.ledger import Ledger
from farm.ledger.outcomes import Verdict
from monitoring.metrics import HEARTBEAT_FAILURES

log = logging.getLogger(__name__)

#: a cancel is noticed within this time also while nothing progresses
NOTICE_S = 1.0
#: progress is told at most this often, a new phase at once
REPORT_S = 0.5
#: pause after a heartbeat that got no answer
RETRY_S = 1.0


@dataclass
class _Report:
    phase: Phase
    progress: float
    step: int
    steps: int


@dataclass(eq=False)
class Lease:
    """One attempt's lease, renewed until it is dropped or lost."""

    claim: Claim
    on_verdict: Callable[[Verdict], None]
    _keeper: "LeaseKeeper"
    _due: float = 0.0
    _beaten: float = field(default_factory=time.monotonic)
    _report: _Report | None = None
    _phase: Phase | None = None

    def report(self, phase: Phase, progress: float, step: int = 0, steps: int = 0) -> None:
        """Where the attempt is; travels with a heartbeat soon."""
        self._keeper.reported(self, _Report(phase, progress, step, steps))

    def drop(self) -> None:
        """Stop renewing. A verdict that is on its way is no longer told."""
        self._keeper.drop(self)


class LeaseKeeper:
    """Beats at a third of the lease, and every `notice_s`, so that a cancel is heard. Threads may share it."""

    def __init__(self, ledger: Ledger, lease_s: float, notice_s: float = NOTICE_S) -> None:
        self._ledger = ledger
        self._beat_s = min(lease_s / 3, notice_s)
        self._leases: set[Lease] = set()
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def hold(self, claim: Claim, on_verdict: Callable[[Verdict], None]) -> Lease:
        """Renew this claim's lease from now on. `on_verdict` hears CANCEL and LOST, in the keeper's thread: it must
        return at once. After LOST nothing is renewed."""
        lease = Lease(claim, on_verdict, self)
        with self._change:
            # at once: a lease that nobody ever renewed was taken for nobody
            lease._due = time.monotonic()
            self._leases.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)
                self._thread.start()
            self._change.notify()
        return lease

    def reported(self, lease: Lease, report: _Report) -> None:
        with self._change:
            lease._report = report
            due = 0.0 if report.phase != lease._phase else lease._beaten + REPORT_S
            lease._phase = report.phase
            if due < lease._due:
                lease._due = due
                self._change.notify()

    def drop(self, lease: Lease) -> None:
        with self._change:
            self._leases.discard(lease)

    def _keep(self) -> None:
        while True:
            with self._change:
                now = time.monotonic()
                due = [lease for lease in self._leases if lease._due <= now]
                if not due:
                    until = min((lease._due for lease in self._leases), default=None)
                    self._change.wait(None if until is None else until - now)
                    continue
            for lease in due:
                try:
                    self._beat(lease)
                except Exception:
                    # the other leases must not be lost with this one
                    log.exception("heartbeat of %s", lease.claim.job.id)

    def _beat(self, lease: Lease) -> None:
        with self._change:
            report, lease._report = lease._report, None
            lease._beaten = time.monotonic()
            lease._due = lease._beaten + self._beat_s
        try:
            verdict = self._say(lease.claim, report)
        except Unavailable as error:
            HEARTBEAT_FAILURES.inc()
            log.warning("no heartbeat for %s: %s", lease.claim.job.id, error)
            with self._change:
                lease._report = lease._report or report
                lease._due = time.monotonic() + min(RETRY_S, self._beat_s)
            return
        if verdict == Verdict.GO:
            return
        with self._change:
            held = lease in self._leases
            if verdict == Verdict.LOST:
                self._leases.discard(lease)
        if held:
            lease.on_verdict(verdict)

    def _say(self, claim: Claim, report: _Report | None) -> Verdict:
        if report is None:
            return self._ledger.heartbeat(claim.job.id, claim.attempt)
        return self._ledger.heartbeat(
            claim.job.id,
            claim.attempt,
            phase=report.phase,
            progress=report.progress,
            step=report.step,
            steps=report.steps,
        )
