"""From a job of the ledger to the report that the provider dialects render: ids, files with fresh addresses, money.

Shared by the gateway, which is asked, and the webhooks, which tell. Reads no ledger.
"""

from collections.abc import Callable

from farm.jobs.errors import FaultCode
from farm.jobs.job import Job
from farm.jobs.states import TERMINAL, Phase, State
from farm.wire import task_ids
from farm.wire.dialects import rules_of
from farm.wire.report import Fault, Output, Report

#: frames that the nearest clip of 4n+1 frames may be longer or shorter than a length in seconds
_NEAREST_FRAMES = 2.001


def report_of(
    job: Job,
    sign: Callable[[str], str],
    *,
    credit_usd: float = 1.0,
    credits_left_micro: int | None = None,
) -> Report:
    """The job in its own dialect's words. `sign`: object key -> address. `credit_usd`: US dollars of one credit, for
    the dialects that report costs in dollars."""
    rules, data, over = rules_of(job.dialect), job.dialect_data, job.state in TERMINAL
    state = State.CANCELLED if job.cancelling and not over and rules.cancels_at_once else job.state
    steps = job.steps or job.spec.steps
    money = job.charged if over else job.hold
    if money is not None and rules.in_dollars:
        money = round(money * credit_usd)
    return Report(
        id=task_ids.task_id(job.dialect, job.id),
        state=state,
        model=str(data.get("model") or job.spec.model),
        handle=rules.handle(job.id, data) if rules.handle else "",
        phase=Phase(job.phase) if job.phase and job.state is State.RUNNING else None,
        progress=job.progress,
        step=steps if state is State.SUCCEEDED else job.step,
        steps=steps,
        outputs=_outputs(job, sign),
        fault=fault_of(job),
        request=data.get("request") or {},
        prompt=job.spec.prompt,
        size=_size(job),
        seconds=_seconds(job),
        created_ms=job.created_ms,
        updated_ms=job.finished_ms or job.phase_ms or job.started_ms or job.queued_ms or job.created_ms,
        queued_ms=job.queued_ms,
        started_ms=job.started_ms,
        finished_ms=job.finished_ms,
        credits_micro=money,
        credits_left_micro=credits_left_micro,
        notes=tuple(data.get("notes", ())),
    )


def _size(job: Job) -> tuple[int, int] | None:
    if job.artifacts is not None:
        return job.artifacts.width, job.artifacts.height
    return (job.spec.width, job.spec.height) if job.spec.sides_known else None


def _seconds(job: Job) -> float | None:
    """The length as it was asked for, since a clip has 4n+1 frames and one of 4 s is a little longer; or else whole
    where the clip is as near to a whole number as it can be."""
    if job.artifacts is not None:
        exact, fps = job.artifacts.seconds, job.artifacts.fps
    elif job.spec.length_known:
        exact, fps = job.spec.frames / job.spec.fps, job.spec.fps
    else:
        return None
    asked = job.dialect_data.get("seconds")
    for told in (asked, round(exact)):
        if told and abs(told - exact) * fps <= _NEAREST_FRAMES:
            return float(told)
    return exact


def _outputs(job: Job, sign: Callable[[str], str]) -> tuple[Output, ...]:
    files = job.artifacts
    if files is None or job.state is not State.SUCCEEDED:
        return ()
    return (Output(sign(files.video), "video.mp4", "video/mp4", files.size, files.sha256[:32]),)


def fault_of(job: Job) -> Fault | None:
    """Why it failed or was cancelled; None otherwise. A code that this version does not know (a newer worker's) is told
    as the nearest that it does."""
    if job.state not in (State.FAILED, State.CANCELLED):
        return None
    otherwise = FaultCode.CANCELLED if job.state is State.CANCELLED else FaultCode.ENGINE_ERROR
    code = next((known for known in FaultCode if known == job.error_code), otherwise)
    return Fault(code, job.error_message or "the job failed")
