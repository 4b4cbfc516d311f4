"""One attempt at one job, from claim to commit: prepare -> render -> finish. Runs in a thread of its own, so that the
agent can finish one job while the engine renders the next. The path is `run`, read from top to bottom.

Its parts: farm.agent.inbox (inputs), farm.agent.render_turn (the engine), farm.results.publish (upload and commit),
farm.agent.endings (every other end), farm.agent.stop_request (who ends it early).
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from farm import tracing
from farm.agent import service_level
from farm.agent.attempt_context import AttemptContext
from farm.agent.attempt_log import AttemptLog
from farm.agent.attempt_trace import AttemptTrace
from farm.agent.endings import Endings
from farm.agent.inbox import Inbox
from farm.agent.out_of_service import OwnTrouble, disk_trouble
from farm.agent.render_turn import RenderTurn
from farm.agent.stop_request import HandedBack, Lost, StopRequest
from farm.claiming import retry
from farm.jobs.errors import FaultCode, JobFault, Unavailable
from farm.jobs.job import Claim
from farm.jobs.lanes import bare_lane
from farm.jobs.states import Phase
from farm.ledger import CommitOutcome, Verdict
from farm.results.publish import Publication, verify
from farm.scheduling.work import work_of
from models.planning.request import Cancelled, Progress, RenderRequest, RenderResult, Stage
from monitoring.metrics import ATTEMPTS, LEASES_LOST, PREPARE_SECONDS, UPLOAD_SECONDS

log = logging.getLogger(__name__)


class Attempt(threading.Thread):
    """`nearly_done` and `rendered` are those of its RenderTurn. `ended`: nothing of the attempt is left."""

    def __init__(self, claim: Claim, context: AttemptContext, on_end: Callable[[], None]) -> None:
        super().__init__(name=f"attempt-{claim.job.id}-{claim.attempt}", daemon=True)
        self.claim, self.job = claim, claim.job
        self._context, self._on_end = context, on_end
        self.render_id = f"{claim.job.id}:{claim.attempt}"
        self.phase = Phase.ASSIGNED
        self.ended = threading.Event()
        self._folder = context.scratch / f"{claim.job.id}-{claim.attempt}"
        self.claimed = time.monotonic()
        self._fraction = 0.0
        self._trace = AttemptTrace(claim)
        self._log = AttemptLog(claim, context.ledger)
        self.stop_request = StopRequest(self.render_id)
        self._check = self.stop_request.check
        self._turn = RenderTurn(claim, context, self.stop_request, self._progressed)
        self.nearly_done, self.rendered = self._turn.nearly_done, self._turn.rendered
        self._endings = Endings(claim, context, lambda: self._turn.gpu_s)
        self._publication = Publication(claim, context.settings, context.ledger, context.store, self._check)
        self._lease = context.leases.hold(claim, self._heard)

    # --- the path

    def run(self) -> None:
        """The whole attempt, in its own thread. Raises nothing: every ending is reported to the ledger."""
        service_level.started(self.claim)
        with tracing.about(self.job.id):
            self._run()

    def _run(self) -> None:
        ending = "failed"
        self._log.say(f"claimed for {self._context.room.slot.title or self._context.room.slot.name}")
        try:
            result = self._made()
            ending = self._finish(result)
        except Lost:
            LEASES_LOST.inc()
            log.warning("%s: the lease was lost; its result is thrown away", self.render_id)
            ending = "lost"
        except HandedBack:
            self._log.say("handed back, and not counted", bad=True)
            ending = self._endings.released()
        except Cancelled:
            ending = self._endings.failed(JobFault(FaultCode.CANCELLED, "cancelled by its owner"))
        except JobFault as fault:
            self._log.say(f"failed: {fault}", bad=True)
            ending = self._endings.failed(fault)
        except OwnTrouble as trouble:
            self._log.say("the worker is in trouble of its own", bad=True)
            ending = self._endings.troubled(trouble)
        except OSError as error:
            # an outage of Redis or the store is Unavailable, so this is the machine's disk
            log.exception("%s: the worker's disk", self.render_id)
            ending = self._endings.troubled(OwnTrouble(disk_trouble(error)))
        except Exception:
            log.exception("%s: the worker failed", self.render_id)
            self._log.say("the worker failed", bad=True)
            self._endings.failed(JobFault(FaultCode.ENGINE_ERROR, "the worker failed"))
        finally:
            self._end(ending)

    def abandon(self) -> None:
        """End an attempt that was never started; it goes back uncounted. Asks Redis once."""
        try:
            self._endings.never_started()
        finally:
            self._end("released")

    def _heard(self, verdict: Verdict) -> None:
        self.stop_request.ask(Lost if verdict == Verdict.LOST else Cancelled)

    def _made(self) -> RenderResult:
        try:
            result = self._turn.render(self._prepare())
            verify(result)
            self._log.rendered(self._turn.gpu_s, result.timings)
            return result
        except JobFault as fault:
            # before the engine is lent to another attempt
            self._context.blame(self.job, fault)
            raise
        finally:
            self._turn.end()

    def _prepare(self) -> RenderRequest:
        # asked before the render: a result must be uploaded also while Redis is away
        self._policy = retry.redis(lambda: self._context.policies.before_render(self.job.tenant), self._check)
        request = Inbox(self._context, self.claim, self._folder, self._check).fill()
        took_s = time.monotonic() - self.claimed
        PREPARE_SECONDS.observe(took_s)
        self._log.say(f"inputs on the worker after {took_s:.1f} s")
        return request

    def _finish(self, result: RenderResult) -> str:
        """Upload and commit. Returns how it ended."""
        self._report(Phase.UPLOADING)
        began = time.monotonic()
        artifacts = self._publication.upload(result, self._policy)
        took_s = time.monotonic() - began
        UPLOAD_SECONDS.observe(took_s)
        self._log.say(f"uploaded in {took_s:.1f} s, the video has {artifacts.size:,} bytes")
        # before the commit: whoever sees the result sees how it came about
        self._log.keep()
        outcome = self._publication.commit(artifacts, gpu_s=self._turn.gpu_s)
        if outcome in (CommitOutcome.COMMITTED, CommitOutcome.ALREADY):
            self._context.health.rendered()
            service_level.committed(self.job, time.monotonic() - self.claimed)
            self._record_throughput(result)
            return "committed"
        if outcome == CommitOutcome.FENCED:
            raise Lost
        return "cancelled"

    def _record_throughput(self, result: RenderResult) -> None:
        """Record what the render took on a warm model: it predicts the next ones of its lane."""
        warm_s = self._turn.gpu_s - result.timings.get(Stage.LOADING, 0.0)
        service_level.rendered(self.job, warm_s)
        with suppress(Unavailable):
            self._context.ledger.rendered(
                self.job.pool, bare_lane(self.job), work_tflop=work_of(self.job.spec), seconds=warm_s
            )

    def _end(self, ending: str) -> None:
        self._lease.drop()
        self._turn.end()
        try:
            self._tidy()
        except Exception:
            # the agent must not wait for an attempt whose files cannot be removed
            log.exception("%s: its files are left to garbage collection", self.render_id)
        finally:
            ATTEMPTS.labels(self.job.pool, ending).inc()
            self._trace.ended(ending)
            self._log.keep()
            log.info("%s ended: %s after %.1f s on the device", self.render_id, ending, self._turn.gpu_s)
            self.ended.set()
            self._on_end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tidy(self) -> None:
        """Remove the attempt's files, here and in the store."""
        self._publication.discard()
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- progress

    def _progressed(self, at: Progress) -> None:
        self._fraction = at.fraction
        self._report(Phase(at.stage.value), at.step, at.steps)

    def _report(self, phase: Phase, step: int = 0, steps: int = 0) -> None:
        self.phase = phase
        self._trace.entered(phase)
        self._lease.report(phase, self._fraction, step, steps)
