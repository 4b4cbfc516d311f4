"""One attempt's use of the engine: borrow it, render, watch the clocks, give the device to the next attempt.

Progress (stuck) and wall time (runaway) are farm.agent.clocks; the third clock, the lease, is farm.claiming.leases.
"""

import logging
import threading
import time
from collections.abc import Callable

from farm.agent.attempt_context import AttemptContext
from farm.agent.clocks import Clocks, Disobeyed
from farm.agent.engine_room import Loan, NoEngine
from farm.agent.out_of_service import OwnTrouble
from farm.agent.stop_request import HandedBack, StopRequest
from farm.engine.process import EngineDied
from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.job import Claim
from farm.jobs.lanes import bare_lane
from models.planning.request import WEIGHTS_MISSING, Cancelled, Progress, RenderFault, RenderRequest, RenderResult
from monitoring.metrics import CLAIM_TO_RENDER_SECONDS, RENDER_SECONDS

log = logging.getLogger(__name__)

#: engines that may die, lent to a job, before the job began to render
_IDLE_DEATHS = 3


class RenderTurn:
    """`nearly_done`: the engine is about to be free for another attempt. `rendered`: it is free, although it may still
    encode this one's frames. `gpu_s`: seconds that the device worked for this attempt."""

    def __init__(
        self, claim: Claim, context: AttemptContext, stop: StopRequest, report: Callable[[Progress], None]
    ) -> None:
        """`report` gets every progress that the engine sends."""
        self._job, self._context, self._stop, self._report = claim.job, context, stop, report
        self._render_id = f"{claim.job.id}:{claim.attempt}"
        self._claimed = time.monotonic()
        # a job that came back may have ended an engine: its next attempt shares none
        self._alone = claim.attempt > claim.job.intake_attempt + 1
        self._began = False
        self.gpu_s = 0.0
        self.nearly_done = threading.Event()
        self.rendered = threading.Event()

    def render(self, request: RenderRequest) -> RenderResult:
        """Render on the engine as soon as it is free. Raises JobFault, OwnTrouble, Cancelled, Lost or HandedBack."""
        if not self._alone:
            self._context.room.prefetch(self._render_id, request)
        try:
            return self._on_a_living_engine(request)
        except NoEngine as error:
            self._stop.check()
            # not this job's doing
            raise HandedBack from error
        except EngineDied as error:
            self._stop.check()
            log.error("%s: %s", self._render_id, error)
            if error.shared:
                # another render shared the engine: return the attempt uncounted; the retry runs alone
                raise HandedBack from error
            raise JobFault(FaultCode.ENGINE_DIED, "the engine died while it rendered this job") from error
        except RenderFault as fault:
            self._stop.check()
            if fault.code == WEIGHTS_MISSING:
                raise OwnTrouble(fault.message, self._job.spec.model) from fault
            if fault.code == FaultCode.STORAGE_FAILED:
                raise OwnTrouble(fault.message) from fault
            raise JobFault(_code(fault.code), fault.message) from fault
        except Cancelled as error:
            self._stop.check()
            raise JobFault(FaultCode.ENGINE_ERROR, "the engine stopped without being told to") from error

    def end(self) -> None:
        """The attempt needs the engine no more."""
        self.nearly_done.set()
        self.rendered.set()

    def _on_a_living_engine(self, request: RenderRequest) -> RenderResult:
        for _ in range(_IDLE_DEATHS):
            with self._context.room.lend(self._render_id, self._stop.check, alone=self._alone) as loan:
                try:
                    return self._on(loan, request)
                except EngineDied:
                    # an engine that died before the render began was idle: the job did not cause it
                    if self._began:
                        raise
                finally:
                    self._stop.leave()
        raise EngineDied("engines keep dying before they begin")

    def _on(self, loan: Loan, request: RenderRequest) -> RenderResult:
        engine = loan.engine
        self._stop.use(engine)
        clocks = Clocks(self._context.settings.lease, self._job.wall_s, time.monotonic())
        CLAIM_TO_RENDER_SECONDS.observe(clocks.began - self._claimed)
        self._stop.check()
        rendered = False

        def progress(at: Progress) -> None:
            self._began = True
            clocks.progressed(at, time.monotonic())
            self._report(at)

        def on_rendered() -> None:
            nonlocal rendered
            rendered = True
            self._free(loan, clocks)

        def watch() -> None:
            now = time.monotonic()
            clocks.check(now, self._stop.asked_at)
            if clocks.near_end(now, self._context.settings.worker.prefetch_s):
                self.nearly_done.set()

        try:
            return engine.render(self._render_id, request, progress, watch, on_rendered)
        except Disobeyed:
            self._context.room.replace(engine, "ignored a cancel")
            self._stop.check()
            raise
        except JobFault as fault:
            shared = engine.shared(self._render_id)
            self._context.room.replace(engine, str(fault.code))
            if shared and fault.code == FaultCode.STUCK:
                # when one of two renders hangs, both stop: neither is charged
                raise EngineDied("the engine made no progress", shared=True) from fault
            raise
        except RenderFault as fault:
            if fault.poisoned:
                # the engine is ending by itself: lend it to nobody meanwhile
                self._context.room.replace(engine, "poisoned")
            raise
        finally:
            if not rendered:
                self._measure(clocks)

    def _free(self, loan: Loan, clocks: Clocks) -> None:
        """The device is done with the job: only encoding is left, and the next render may begin."""
        self._measure(clocks)
        loan.rendered()
        if not loan.alone:
            self.end()

    def _measure(self, clocks: Clocks) -> None:
        self.gpu_s = time.monotonic() - clocks.began
        RENDER_SECONDS.labels(bare_lane(self._job)).observe(self.gpu_s)


def _code(word: str) -> FaultCode:
    try:
        return FaultCode(word)
    except ValueError:
        return FaultCode.ENGINE_ERROR
