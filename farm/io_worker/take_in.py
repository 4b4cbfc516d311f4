"""The intake of one claimed job: fetch what is still an address, check it, store it, and let the job be queued; or say
why it cannot be. The lease is kept, and permits are asked for, by whoever claimed."""

import time
from collections.abc import Mapping
from dataclasses import replace

from farm.billing.prices import PriceBook
from farm.config import Settings
from farm.guard.dial import Deadline
from farm.intake.intake import Intake
from farm.jobs.draft import Source
from farm.jobs.errors import (
    AddressRefused,
    AddressUnreachable,
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
from farm.scheduling.memory_fit import burden_of, needs_of
from farm.scheduling.pools import Pools
from farm.storage.quota import Quota
from farm.storage.store import Store
from farm.submission import shape
from models.catalog import MODELS


def run(
    claim: Claim,
    ledger: Ledger,
    store: Store,
    settings: Settings,
    permits: PermitPublisher | None = None,
    *,
    pools: Pools | None = None,
    quota: Quota | None = None,
) -> None:
    """Bring a claimed `waiting` job to `queued` or `failed`. Raises Unavailable when the ledger or the store is away:
    nothing was decided then, and the same job may be run again.

    `permits` publishes what the ledger asks for; without it the reaper asks again later. `pools` are those of the
    process, which remember; without them the workers are asked anew.
    """
    job = claim.job
    intake = Intake(settings, store, quota=quota)
    deadline = Deadline(settings.intake.job_s)
    try:
        inputs = {
            role: ref if ref.stored else _taken_in(intake, job.tenant, role, ref, settings, deadline=deadline)
            for role, ref in job.spec.inputs.items()
        }
        pools = pools or Pools(settings, ledger.workers, speeds=ledger.speeds)
        reshaped = _reshaped(job, inputs, pools, settings)
    except JobFault as fault:
        _, woken = ledger.fail(job.id, claim.attempt, fault)
    else:
        _, woken = ledger.intake_done(job.id, claim.attempt, inputs, reshaped)
    if permits is not None:
        permits.publish(woken)


def _taken_in(
    intake: Intake, tenant: str, role: str, ref: InputRef, settings: Settings, *, deadline: Deadline
) -> InputRef:
    """The stored content behind an address; the deadline is that of all inputs together. Raises JobFault."""
    tries, pause_s = settings.intake.fetch_tries, settings.intake.fetch_pause_s
    while True:
        tries -= 1
        try:
            seconds = max(0.0, min(settings.intake.total_s, deadline.left_s))
            content = intake.look(tenant, role, Source(url=ref.url), field=role, seconds=seconds)
        except AddressUnreachable as error:
            if not error.passing or tries <= 0 or deadline.left_s <= pause_s:
                raise _fault(error) from None
            # a server that is busy or starting says nothing when it is ready
            time.sleep(pause_s)
            pause_s *= 2
        except RequestError as error:
            raise _fault(error) from None
        else:
            try:
                return intake.keep(tenant, content)
            except RequestError as error:
                raise _fault(error) from None
            finally:
                content.close()


def _fault(error: RequestError) -> JobFault:
    if isinstance(error, AddressUnreachable):
        code = FaultCode.INPUT_UNREACHABLE
    elif isinstance(error, (AddressRefused, Forbidden, TooLarge)):
        code = FaultCode.INPUT_REFUSED
    else:
        code = FaultCode.INVALID_INPUT
    return JobFault(code, str(error))


def _reshaped(job: Job, inputs: Mapping[str, InputRef], pools: Pools, settings: Settings) -> Reshaped | None:
    """What follows from the inputs: size, length, and with them time, memory and price. Raises JobFault."""
    if job.spec.model not in MODELS:
        return None
    try:
        settled = shape.finish(job.spec, inputs)
    except InvalidRequest as error:
        raise JobFault(FaultCode.INVALID_INPUT, str(error)) from None
    burden = burden_of(settled, job.spec.options, job.spec.loras)
    if refusal := pools.refusal(burden, job.pool):
        raise JobFault(FaultCode.DOES_NOT_FIT, refusal)
    final = replace(
        job.spec,
        inputs=inputs,
        length_of=None,
        **{name: getattr(settled, name) for name in ("width", "height", "frames", "fps")},
    )
    predicted_s = pools.predict_s(settled, job.pool)
    return Reshaped(
        width=settled.width,
        height=settled.height,
        frames=settled.frames,
        fps=settled.fps,
        predicted_s=predicted_s,
        wall_s=pools.wall_s(predicted_s),
        needs=needs_of(burden),
        hold=PriceBook(settings.prices).exact(final, job.dialect_data),
    )
