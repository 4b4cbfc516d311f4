"""The intake of one claimed job: fetch what is still an address, check it, store it, and let the job be queued; or fail
it with the reason. The caller keeps the lease and asks for permits."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from farm import tracing
from farm.billing.prices import PriceBook
from farm.config import Settings
from farm.guard.dial import Deadline
from farm.intake.intake import Intake
from farm.jobs.draft import Source
from farm.jobs.errors import (
    AddressRefused,
    AddressUnreachable,
    FarmError,
    FaultCode,
    Forbidden,
    InvalidRequest,
    JobFault,
    RequestError,
    TooLarge,
)
from farm.jobs.job import Claim, Job, Reshaped
from farm.jobs.spec import InputRef
from farm.ledger.ledger import Ledger
from farm.ledger.outcomes import PermitPublisher
from farm.results.last_frame import last_frame
from farm.scheduling.memory_fit import burden_of, needs_of
from farm.scheduling.pools import Pools
from farm.storage.quota import Quota
from farm.storage.store import Store
from farm.submission import shape
from models.catalog import MODELS

#: pauses between the intakes of a job whose address is in passing trouble: the first, doubled up to the longest
_PAUSE_S, _PAUSE_MAX_S = 5.0, 60.0


class _Passing(FarmError):
    """An address did not answer, which may pass."""

    def __init__(self, fault: JobFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class TakeIn:
    """Takes claimed jobs in. One per process; threads may share it.

    `permits` publishes what the ledger asks for; without it the reaper asks again later.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        store: Store,
        permits: PermitPublisher | None = None,
        *,
        quota: Quota | None = None,
    ) -> None:
        self._settings, self._ledger, self._permits = settings, ledger, permits
        self._store = store
        self._intake = Intake(settings, store, quota=quota)
        self._pools = Pools(settings, ledger.offers, speeds=ledger.speeds)
        self._prices = PriceBook(settings.prices)

    def run(self, claim: Claim) -> None:
        """Bring a claimed `waiting` job to `queued` or `failed`. Raises Unavailable when the ledger or the store is
        away: nothing was decided then, and the same job may be run again."""
        began = time.time_ns()
        with tracing.about(claim.job.id):
            self._run(claim)
        tracing.span(claim.job.id, "intake", began, time.time_ns())

    def _run(self, claim: Claim) -> None:
        job = claim.job
        deadline = Deadline(self._settings.intake.job_s)
        try:
            inputs = {
                role: ref if ref.stored else self._taken_in(job.tenant, role, ref, deadline)
                for role, ref in job.spec.inputs.items()
            }
            reshaped = self._reshaped(job, inputs)
        except _Passing as passing:
            pause_s = outage_pause_s(claim.attempt, self._settings.intake.outage_s)
            if pause_s is None:
                _, woken = self._ledger.fail(job.id, claim.attempt, passing.fault)
            else:
                _, woken = self._ledger.release(job.id, claim.attempt, delay_s=pause_s)
        except JobFault as fault:
            _, woken = self._ledger.fail(job.id, claim.attempt, fault)
        else:
            _, woken = self._ledger.intake_done(job.id, claim.attempt, inputs, reshaped)
        if self._permits is not None:
            self._permits.publish(woken)

    def _source(self, ref: InputRef) -> Source:
        """Where an input is read from. Raises JobFault."""
        if ref.last_frame_of is None:
            return Source(url=ref.url, upload=ref.upload)
        job = self._ledger.find(ref.last_frame_of)
        while job is not None and job.retried_as is not None:
            job = self._ledger.find(job.retried_as)
        if job is None or job.artifacts is None:
            message = f"the last frame of job {ref.last_frame_of} is the first of this one, and it has no result"
            raise JobFault(FaultCode.DEPENDENCY_FAILED, message)
        with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
            self._store.get_file(job.artifacts.video, Path(file.name))
            return Source(data=last_frame(Path(file.name)))

    def _taken_in(self, tenant: str, role: str, ref: InputRef, deadline: Deadline) -> InputRef:
        """The stored content behind an address; the deadline is that of all inputs together. Raises JobFault, or
        _Passing with one."""
        tries, pause_s = self._settings.intake.fetch_tries, self._settings.intake.fetch_pause_s
        while True:
            tries -= 1
            try:
                seconds = max(0.0, min(self._settings.intake.total_s, deadline.left_s))
                content = self._intake.look(tenant, role, self._source(ref), field=role, seconds=seconds)
            except AddressUnreachable as error:
                if not error.passing:
                    raise _fault(error) from None
                if tries <= 0 or deadline.left_s <= pause_s:
                    raise _Passing(_fault(error)) from None
                # a server that is busy or starting says nothing when it is ready
                time.sleep(pause_s)
                pause_s *= 2
            except RequestError as error:
                raise _fault(error) from None
            else:
                try:
                    return self._intake.keep(tenant, content)
                except RequestError as error:
                    raise _fault(error) from None
                finally:
                    content.close()

    def _reshaped(self, job: Job, inputs: Mapping[str, InputRef]) -> Reshaped | None:
        """What follows from the inputs: size, length, and with them time, memory and price. Raises JobFault."""
        if job.spec.model not in MODELS:
            return None
        try:
            settled = shape.finish(job.spec, inputs)
        except InvalidRequest as error:
            raise JobFault(FaultCode.INVALID_INPUT, str(error)) from None
        burden = burden_of(settled, job.spec.options, job.spec.loras)
        if refusal := self._pools.refusal(burden, job.pool):
            raise JobFault(FaultCode.DOES_NOT_FIT, refusal)
        final = replace(
            job.spec,
            inputs=inputs,
            length_of=None,
            **{name: getattr(settled, name) for name in ("width", "height", "frames", "fps")},
        )
        predicted_s = self._pools.predict_s(settled, job.pool)
        return Reshaped(
            width=settled.width,
            height=settled.height,
            frames=settled.frames,
            fps=settled.fps,
            predicted_s=predicted_s,
            wall_s=self._pools.wall_s(predicted_s),
            needs=needs_of(burden),
            hold=self._prices.exact(final, job.dialect_data),
        )


def outage_pause_s(attempt: int, outage_s: float) -> float | None:
    """How long a job whose address did not answer waits after its `attempt`-th intake; None: it has waited long enough,
    about `outage_s` in all."""
    waited_s = 0.0
    for number in range(1, attempt + 1):
        if waited_s >= outage_s:
            return None
        pause_s = min(_PAUSE_S * 2.0 ** (number - 1), _PAUSE_MAX_S, outage_s - waited_s)
        waited_s += pause_s
    return pause_s


def _fault(error: RequestError) -> JobFault:
    if isinstance(error, AddressUnreachable):
        code = FaultCode.INPUT_UNREACHABLE
    elif isinstance(error, (AddressRefused, Forbidden, TooLarge)):
        code = FaultCode.INPUT_REFUSED
    else:
        code = FaultCode.INVALID_INPUT
    return JobFault(code, str(error))
