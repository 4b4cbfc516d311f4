"""Keeping leases: heartbeats for every attempt that this process holds, from a thread that does nothing else. The
holder decides what a verdict means for its work. All that are due are renewed in one round trip, so that
one slow answer delays no other heartbeat, and the worker's presence with them. A worker is told of a cancel between its
heartbeats, and asks at once."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from farm.claiming.presence import Presence
from farm.jobs.errors import Unavailable
from farm.jobs.job import Claim
from farm.jobs.states import Phase
from farm.ledger import Ledger
from farm.ledger.notices import Notices
from farm.ledger.outcomes import Beat, Verdict
from monitoring.metrics import HEARTBEAT_FAILURES

log = logging.getLogger(__name__)

#: progress is reported in steps of this share
REPORT_SHARE = 0.05
#: how often in a beat a new phase is reported at most, and progress: once in one and in five seconds with a lease of
#: 45 s. What passes faster is not told
_PHASES_A_BEAT, _STEPS_A_BEAT = 15, 3
#: pause after a heartbeat that got no answer
RETRY_S = 1.0
#: a keeper that is closed has ended by then, unless Redis keeps it waiting
CLOSING_S = 0.5
#: leases that are renewed in one call: what takes Redis about a millisecond
MOST_AT_ONCE = 100


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
    _shown: float = 0.0

    def report(self, phase: Phase, progress: float, step: int = 0, steps: int = 0) -> None:
        """Where the attempt is; travels with a heartbeat soon."""
        self._keeper.reported(self, _Report(phase, progress, step, steps))

    def said(self) -> _Report | None:
        """Take the report that is due. The keeper's lock is held."""
        report, self._report = self._report, None
        if report is not None:
            self._shown = report.progress
        return report

    def drop(self) -> None:
        """Stop renewing. A verdict that arrives after this is dropped."""
        self._keeper.drop(self)


class LeaseKeeper:
    """Beats at a third of the lease. `worker`: whose claims they are, to be told of a cancel within a moment instead of
    at the next heartbeat. Threads may share it."""

    def __init__(self, ledger: Ledger, lease_s: float, worker: str | None = None) -> None:
        self._ledger = ledger
        self._beat_s = lease_s / 3
        self._phase_s, self._step_s = self._beat_s / _PHASES_A_BEAT, self._beat_s / _STEPS_A_BEAT
        self._notices = ledger.notices(worker) if worker else None
        self._presence: Presence | None = None
        self._leases: set[Lease] = set()
        self._change = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def take_along(self, presence: Presence) -> None:
        """Renew this worker's presence with its leases."""
        self._presence = presence

    def hold(self, claim: Claim, on_verdict: Callable[[Verdict], None]) -> Lease:
        """Renew this claim's lease from now on. `on_verdict` hears CANCEL and LOST, in the keeper's thread: it must
        return at once. After LOST nothing is renewed."""
        lease = Lease(claim, on_verdict, self)
        with self._change:
            # at once: a lease that was never renewed counts as a lost claim
            lease._due = time.monotonic()
            self._leases.add(lease)
            if not self._threads:
                self._start()
            self._change.notify()
        return lease

    def _start(self) -> None:
        self._threads.append(threading.Thread(target=self._keep, name="leases", daemon=True))
        if self._notices is not None:
            listens = threading.Thread(target=self._listen, args=(self._notices,), name="notices", daemon=True)
            self._threads.append(listens)
        for thread in self._threads:
            thread.start()

    def reported(self, lease: Lease, report: _Report) -> None:
        """Take over a lease's latest phase and progress, for the next heartbeat; what is new is sent soon."""
        with self._change:
            lease._report = report
            due = None
            if report.phase != lease._phase:
                due = lease._beaten + self._phase_s
            elif report.progress >= min(1.0, lease._shown + REPORT_SHARE):
                due = lease._beaten + self._step_s
            lease._phase = report.phase
            if due is not None and due < lease._due:
                lease._due = due
                self._change.notify()

    def drop(self, lease: Lease) -> None:
        """Send no more heartbeats for this lease."""
        with self._change:
            self._leases.discard(lease)

    def close(self) -> None:
        """Renew nothing more. Returns when the threads have ended, CLOSING_S or one answer of Redis later."""
        with self._change:
            self._closed = True
            self._leases.clear()
            self._change.notify()
        for thread in self._threads:
            thread.join()

    def _keep(self) -> None:
        while not self._closed:
            with self._change:
                now = time.monotonic()
                due = [lease for lease in self._leases if lease._due <= now]
                if due:
                    due += [lease for lease in self._leases if self._comes_along(lease, now)]
                if not due:
                    until = min((lease._due for lease in self._leases), default=None)
                    if not self._closed:
                        self._change.wait(None if until is None else until - now)
                    continue
            for at in range(0, len(due), MOST_AT_ONCE):
                self._beat(due[at : at + MOST_AT_ONCE])

    def _listen(self, notices: Notices) -> None:
        deaf = False
        while not self._closed:
            try:
                job_id = notices.wait(min(CLOSING_S, self._beat_s))
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever a connection that breaks raises
                if not deaf:
                    log.warning("not told of cancels; heartbeats hear of them: %s: %s", type(error).__name__, error)
                deaf = True
                notices.close()
                time.sleep(min(RETRY_S, self._beat_s))
                continue
            deaf = False
            with self._change:
                for lease in self._leases:
                    if lease.claim.job.id == job_id:
                        lease._due = 0.0
                        self._change.notify()
        notices.close()

    def _comes_along(self, lease: Lease, now: float) -> bool:
        """Whoever is due soon: however many there are, a beat is one round trip. Nobody reports more often for it."""
        return now < lease._due <= now + self._beat_s / 2 and now >= lease._beaten + self._step_s

    def _beat(self, leases: Sequence[Lease]) -> None:
        """One round trip for all of them. What they report is kept until it arrived."""
        with self._change:
            reports = [lease.said() for lease in leases]
            for lease in leases:
                lease._beaten = time.monotonic()
                lease._due = lease._beaten + self._beat_s
        verdicts = self._say(leases, reports)
        for lease, report, verdict in zip(leases, reports, verdicts, strict=True):
            if verdict is None:
                self._unanswered(lease, report)
            elif verdict != Verdict.GO:
                self._tell(lease, verdict)

    def _say(self, leases: Sequence[Lease], reports: Sequence[_Report | None]) -> Sequence[Verdict | None]:
        """None for one that got no answer. An answer that is an error may be the fault of one: each is asked for
        alone, so that the others are not lost with it."""
        beats = [_beat(lease.claim, report) for lease, report in zip(leases, reports, strict=True)]
        renewal = self._presence.renewal() if self._presence else None
        try:
            answer = self._ledger.beat(beats, renewal)
            if renewal and self._presence:
                self._presence.renewed(answer)
            return answer.verdicts
        except Unavailable as error:
            HEARTBEAT_FAILURES.inc(len(leases))
            log.warning("no heartbeat for %d attempts: %s", len(leases), error)
        except Exception:
            log.exception("heartbeat of %s", ", ".join(lease.claim.job.id for lease in leases))
            if len(leases) > 1:
                pairs = zip(leases, reports, strict=True)
                return [verdict for lease, report in pairs for verdict in self._say([lease], [report])]
        return [None] * len(leases)

    def _unanswered(self, lease: Lease, report: _Report | None) -> None:
        with self._change:
            lease._report = lease._report or report
            lease._due = time.monotonic() + min(RETRY_S, self._beat_s)

    def _tell(self, lease: Lease, verdict: Verdict) -> None:
        with self._change:
            held = lease in self._leases
            if verdict == Verdict.LOST:
                self._leases.discard(lease)
        if held:
            try:
                lease.on_verdict(verdict)
            except Exception:
                # the other leases must not be lost with this one
                log.exception("verdict on %s", lease.claim.job.id)


def _beat(claim: Claim, report: _Report | None) -> Beat:
    if report is None:
        return Beat(claim.job.id, claim.attempt)
    return Beat(claim.job.id, claim.attempt, report.phase, report.progress, report.step, report.steps)
