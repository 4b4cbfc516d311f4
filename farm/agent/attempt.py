"""One attempt at one job, from claim to commit: prepare -> render -> finish. Runs in a thread of its own, so that the
agent can finish one job while the engine renders the next. The path is `run`, read from top to bottom.

Three clocks watch it: the lease (farm.claiming.leases), progress (stuck) and wall time (runaway); the last two are
farm.agent.clocks, looked at while the engine works.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from farm.agent.attempt_context import AttemptContext
from farm.agent.clocks import Clocks, Disobeyed
from farm.agent.engine_room import Loan, NoEngine
from farm.agent.inbox import Inbox
from farm.agent.out_of_service import OwnTrouble, disk_trouble
from farm.claiming import retry
from farm.engine.process import Engine, EngineDied
from farm.jobs.errors import FarmError, FaultCode, JobFault, Unavailable
from farm.jobs.job import Claim
from farm.jobs.lanes import bare_lane
from farm.jobs.states import Phase
from farm.ledger import CommitOutcome, Permit, Verdict
from farm.results.publish import Publication, verify
from farm.scheduling.work import work_of
from models.planning.request import (
    WEIGHTS_MISSING,
    Cancelled,
    Progress,
    RenderFault,
    RenderRequest,
    RenderResult,
    Stage,
)
from monitoring.metrics import (
    ATTEMPTS,
    CLAIM_TO_RENDER_SECONDS,
    LEASES_LOST,
    PREPARE_SECONDS,
    RENDER_SECONDS,
    UPLOAD_SECONDS,
)

log = logging.getLogger(__name__)

#: engines that may die in a job's hands before it began to render
_INNOCENT = 3


class Lost(FarmError):
    """The lease is somebody else's: nothing may be written any more."""


class HandedBack(FarmError):
    """The agent is ending: the attempt goes back to the queue, uncounted."""


class Attempt(threading.Thread):
    """`nearly_done`: the engine is about to be free for another. `rendered`: it is, although this one's frames may
    still be encoded in it. `ended`: nothing of the attempt is left."""

    def __init__(self, claim: Claim, context: AttemptContext, on_end: Callable[[], None]) -> None:
        super().__init__(name=f"attempt-{claim.job.id}-{claim.attempt}", daemon=True)
        self.claim, self.job = claim, claim.job
        self._context, self._on_end = context, on_end
        self.render_id = f"{claim.job.id}:{claim.attempt}"
        self.phase = Phase.ASSIGNED
        self.nearly_done = threading.Event()
        self.rendered = threading.Event()
        self.ended = threading.Event()
        self._folder = context.scratch / f"{claim.job.id}-{claim.attempt}"
        self.claimed = time.monotonic()
        # one that came back may have taken an engine with it: nobody else is to be in the next one
        self._alone = claim.attempt > claim.job.intake_attempt + 1
        self._fraction = 0.0
        self._gpu_s = 0.0
        self._began = False
        self._publication = Publication(claim, context.settings, context.ledger, context.store, self._check)
        self._asking = threading.Lock()
        self._engine: Engine | None = None
        self._waiting = True
        self._why: type[FarmError] | type[Cancelled] | None = None
        self._asked_at: float | None = None
        self._lease = context.leases.hold(claim, self._heard)

    # --- the path

    def run(self) -> None:
        """The whole attempt, in its own thread. Raises nothing: every ending is reported to the ledger."""
        ending = "failed"
        try:
            result = self._made()
            ending = self._finish(result)
        except Lost:
            LEASES_LOST.inc()
            log.warning("%s: the lease was lost; its result is thrown away", self.render_id)
            ending = "lost"
        except HandedBack:
            ending = "released"
            self._settled(lambda: self._context.ledger.release(self.job.id, self.claim.attempt))
        except Cancelled:
            ending = "cancelled"
            self._failed(JobFault(FaultCode.CANCELLED, "cancelled by its owner"))
        except JobFault as fault:
            ending = str(fault.code)
            self._failed(fault)
        except OwnTrouble as trouble:
            ending = self._troubled(trouble)
        except OSError as error:
            # what Redis and the store do not answer is Unavailable: this is the machine
            log.exception("%s: the worker's disk", self.render_id)
            ending = self._troubled(OwnTrouble(disk_trouble(error)))
        except Exception:
            log.exception("%s: the worker failed", self.render_id)
            self._failed(JobFault(FaultCode.ENGINE_ERROR, "the worker failed"))
        finally:
            self._end(ending)

    def abandon(self) -> None:
        """End an attempt that was never started; it goes back uncounted. Harmless to nobody else: asks Redis once."""
        try:
            _, permits = self._context.ledger.release(self.job.id, self.claim.attempt)
            self._context.permits.publish(permits)
        except Unavailable as error:
            log.warning("%s: its lease runs out: %s", self.render_id, error)
        finally:
            self._end("released")

    def interrupt(self, why: type[FarmError] | type[Cancelled]) -> None:
        """Make the attempt end with `why` (Cancelled, Lost or HandedBack) as soon as it can. The first word counts,
        but losing the lease and handing back overrule a cancel."""
        with self._asking:
            if self._why is None or self._why is Cancelled:
                self._why = why
            if self._asked_at is None:
                self._asked_at = time.monotonic()
            engine = self._engine
        if engine is None:
            return
        if why is HandedBack:
            engine.kill()
        else:
            engine.cancel(self.render_id)

    def stand_down(self) -> None:
        """The agent begins nothing more: an attempt that waits for the engine goes back, any other goes on."""
        with self._asking:
            if self._waiting and self._why is None:
                self._why = HandedBack

    def _heard(self, verdict: Verdict) -> None:
        self.interrupt(Lost if verdict == Verdict.LOST else Cancelled)

    def _check(self) -> None:
        if self._why is not None:
            raise self._why()

    def _made(self) -> RenderResult:
        try:
            result = self._render(self._prepare())
            verify(result)
            return result
        except JobFault as fault:
            # before the engine can be anybody else's
            self._context.blame(self.job, fault)
            raise
        finally:
            self.nearly_done.set()
            self.rendered.set()

    # --- prepare

    def _prepare(self) -> RenderRequest:
        # asked before the render: a result must be uploaded also while Redis is away
        self._policy = retry.redis(lambda: self._context.policies.before_render(self.job.tenant), self._check)
        request = Inbox(self._context, self.claim, self._folder, self._check).fill()
        PREPARE_SECONDS.observe(time.monotonic() - self.claimed)
        return request

    # --- render

    def _render(self, request: RenderRequest) -> RenderResult:
        if not self._alone:
            self._context.room.prefetch(self.render_id, request)
        try:
            return self._lent(request)
        except NoEngine as error:
            self._check()
            # not this job's doing
            raise HandedBack from error
        except EngineDied as error:
            self._check()
            log.error("%s: %s", self.render_id, error)
            if error.shared:
                # nor, for all that anybody knows, this one: the next attempt has its engine to itself
                raise HandedBack from error
            raise JobFault(FaultCode.ENGINE_DIED, "the engine died while it rendered this job") from error
        except RenderFault as fault:
            self._check()
            if fault.code == WEIGHTS_MISSING:
                raise OwnTrouble(fault.message, self.job.spec.model) from fault
            if fault.code == FaultCode.STORAGE_FAILED:
                raise OwnTrouble(fault.message) from fault
            raise JobFault(_code(fault.code), fault.message) from fault
        except Cancelled as error:
            self._check()
            raise JobFault(FaultCode.ENGINE_ERROR, "the engine stopped without being told to") from error

    def _lent(self, request: RenderRequest) -> RenderResult:
        for _ in range(_INNOCENT):
            with self._context.room.lend(self.render_id, self._check, alone=self._alone) as loan:
                try:
                    return self._render_on(loan, request)
                except EngineDied:
                    # one that died before it began was idle when it died: the job had no part in that
                    if self._began:
                        raise
                finally:
                    with self._asking:
                        self._engine = None
        raise EngineDied("engines keep dying before they begin")

    def _render_on(self, loan: Loan, request: RenderRequest) -> RenderResult:
        engine = loan.engine
        with self._asking:
            self._engine, self._waiting = engine, False
        clocks = Clocks(self._context.settings.lease, self.job.wall_s, time.monotonic())
        CLAIM_TO_RENDER_SECONDS.observe(clocks.began - self.claimed)
        self._check()
        rendered = False

        def progress(at: Progress) -> None:
            self._began = True
            clocks.progressed(at, time.monotonic())
            self._fraction = at.fraction
            self._report(Phase(at.stage.value), at.step, at.steps)

        def on_rendered() -> None:
            nonlocal rendered
            rendered = True
            self._free(loan, clocks)

        def watch() -> None:
            now = time.monotonic()
            clocks.check(now, self._asked_at)
            if clocks.near_end(now, self._context.settings.worker.prefetch_s):
                self.nearly_done.set()

        try:
            return engine.render(self.render_id, request, progress, watch, on_rendered)
        except Disobeyed:
            self._context.room.replace(engine, "ignored a cancel")
            self._check()
            raise
        except JobFault as fault:
            shared = engine.shared(self.render_id)
            self._context.room.replace(engine, str(fault.code))
            if shared and fault.code == FaultCode.STUCK:
                # whichever of them hangs, all stand still
                raise EngineDied("the engine made no progress", shared=True) from fault
            raise
        except RenderFault as fault:
            if fault.poisoned:
                # it is ending by itself; nobody else may be lent it meanwhile
                self._context.room.replace(engine, "poisoned")
            raise
        finally:
            if not rendered:
                self._used(clocks)

    def _free(self, loan: Loan, clocks: Clocks) -> None:
        """The device is done with the job: what follows is the processor's, and the next one may begin."""
        self._used(clocks)
        loan.rendered()
        if not loan.alone:
            self.nearly_done.set()
            self.rendered.set()

    def _used(self, clocks: Clocks) -> None:
        self._gpu_s = time.monotonic() - clocks.began
        RENDER_SECONDS.labels(bare_lane(self.job)).observe(self._gpu_s)

    # --- finish

    def _finish(self, result: RenderResult) -> str:
        """Upload and commit. Returns how it ended."""
        self._report(Phase.UPLOADING)
        began = time.monotonic()
        artifacts = self._publication.upload(result, self._policy)
        UPLOAD_SECONDS.observe(time.monotonic() - began)
        outcome = self._publication.commit(artifacts, gpu_s=self._gpu_s)
        if outcome in (CommitOutcome.COMMITTED, CommitOutcome.ALREADY):
            self._context.health.rendered()
            self._teach(result)
            return "committed"
        if outcome == CommitOutcome.FENCED:
            raise Lost
        return "cancelled"

    def _teach(self, result: RenderResult) -> None:
        """Tell what the render took on a warm model: the next ones of its lane are predicted by it."""
        warm_s = self._gpu_s - result.timings.get(Stage.LOADING, 0.0)
        with suppress(Unavailable):
            self._context.ledger.rendered(
                self.job.pool, bare_lane(self.job), work_tflop=work_of(self.job.spec), seconds=warm_s
            )

    # --- endings

    def _failed(self, fault: JobFault) -> None:
        log.info("%s: %s", self.render_id, fault)
        self._settled(lambda: self._context.ledger.fail(self.job.id, self.claim.attempt, fault, gpu_s=self._gpu_s))

    def _troubled(self, trouble: OwnTrouble) -> str:
        """The worker's own trouble; how the attempt ended."""
        if not self._context.troubled(self.job, trouble):
            self._failed(JobFault(FaultCode.STORAGE_FAILED, "the worker's disk did not hold this job"))
            return str(FaultCode.STORAGE_FAILED)
        self._settled(lambda: self._context.ledger.release(self.job.id, self.claim.attempt, gpu_s=self._gpu_s))
        return "released"

    def _settled(self, call: Callable[[], tuple[object, list[Permit]]]) -> None:
        """Tell the ledger how it ended, until it answers, and wake whom that concerns."""
        _, permits = retry.redis(call)
        self._context.permits.publish(permits)

    def _end(self, ending: str) -> None:
        self._lease.drop()
        self.nearly_done.set()
        self.rendered.set()
        try:
            self._publication.discard()
            shutil.rmtree(self._folder, ignore_errors=True)
        except Exception:
            # nobody must wait for an attempt because of what it leaves behind
            log.exception("%s: what it leaves is left to others", self.render_id)
        finally:
            ATTEMPTS.labels(self.job.pool, ending).inc()
            log.info("%s ended: %s after %.1f s on the device", self.render_id, ending, self._gpu_s)
            self.ended.set()
            self._on_end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _report(self, phase: Phase, step: int = 0, steps: int = 0) -> None:
        self.phase = phase
        self._lease.report(phase, self._fraction, step, steps)


def _code(word: str) -> FaultCode:
    try:
        return FaultCode(word)
    except ValueError:
        return FaultCode.ENGINE_ERROR
