"""What people do to their jobs: to one of them, or to all of a filter, with a count first and a line in a log after."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import Response, jsonify, request, url_for

from api.auth import tenant
from api.console import filters
from api.console.blueprint import back, console, to, who
from api.limits import count_submission
from api.own.batches import batch_of
from api.own.jobs import job_of
from api.services import services
from farm.batches.acts import AT_ONCE_S, new_act_id, work
from farm.jobs.batch import ActKind, Choice
from farm.jobs.errors import Conflict, FarmError, InvalidRequest, NotFound, RequestError
from farm.jobs.ids import is_job_id
from farm.jobs.job import Admitted, Job
from farm.jobs.states import TERMINAL, HoldReason, State
from farm.ledger import CancelOutcome, HoldOutcome

#: jobs that one call changes, and that one count reads
_AT_ONCE, _COUNTED = 200, 10_000


@dataclass(frozen=True)
class JobAct:
    """`fits`: whether it changes a job that stands so; `done`: does it, and says whether anything changed."""

    past: str
    fits: Callable[[Job], bool]
    done: Callable[[Job], bool]


def _cancel(job: Job) -> bool:
    return services().ledger.cancel(job.tenant, job.id) in (CancelOutcome.CANCELLED, CancelOutcome.CANCELLING)


def _pause(job: Job) -> bool:
    return services().ledger.hold([job.id], HoldReason.PAUSED)[0] in (HoldOutcome.HELD, HoldOutcome.RUNNING)


def _released(job: Job, reason: HoldReason) -> bool:
    answers, permits = services().ledger.release_held([job.id], reason)
    services().permits.publish(permits)
    return answers[0] not in (HoldOutcome.NOT_FOUND, HoldOutcome.OVER)


def _made_again(job: Job) -> Admitted:
    count_submission()
    # the same click sent twice makes one job
    return services().submissions.again(job, key=f"again {job.id} {job.finished_ms}")


def _again(job: Job) -> bool:
    return _made_again(job).created


ACTS = {
    "cancel": JobAct("cancelled", lambda job: job.state not in TERMINAL and not job.cancelling, _cancel),
    "pause": JobAct("paused", lambda job: job.state not in TERMINAL and HoldReason.PAUSED not in job.held_for, _pause),
    "resume": JobAct(
        "resumed",
        lambda job: HoldReason.PAUSED in job.held_for,
        lambda job: _released(job, HoldReason.PAUSED),
    ),
    "approve": JobAct(
        "approved",
        lambda job: HoldReason.APPROVAL in job.held_for,
        lambda job: _released(job, HoldReason.APPROVAL),
    ),
    "retry": JobAct(
        "submitted again", lambda job: job.state in (State.FAILED, State.CANCELLED) and not job.erased, _again
    ),
}


@console.post("/jobs/<job_id>/<any(cancel, pause, resume, approve, retry):name>")
def act_on_one(job_id: str, name: str) -> Response:
    """One job. Raises NotFound, Conflict."""
    job, act = job_of(job_id), ACTS[name]
    if not act.fits(job):
        raise Conflict(f"the job is {job.state}: there is nothing to {name}")
    if name == "retry":
        made = _made_again(job)
        if made.created:
            services().activity.note(tenant(), who(), act.past, f"job {job.id} as {made.id}", 1)
        return to(url_for("console.show_job", job_id=made.id))
    services().activity.note(tenant(), who(), act.past, f"job {job.id}", int(act.done(job)))
    return back(url_for("console.show_job", job_id=job.id))


@console.get("/acts/<any(cancel, pause, resume, approve, retry):name>/count")
def count_for(name: str) -> Response:
    """How many jobs an act would change: {"count", "all": whether that is all of them}."""
    act, cursor, count, read = ACTS[name], None, 0, 0
    chosen = filters.JobFilter.of(request.args)
    while read < _COUNTED:
        found = filters.page(tenant(), chosen, cursor=cursor, limit=500)
        count += sum(map(act.fits, found.jobs))
        read, cursor = read + 500, found.cursor
        if cursor is None:
            break
    return jsonify(count=count, all=cursor is None, filter=_said(chosen))


def _said(chosen: filters.JobFilter) -> str:
    return chosen.said(batch_of(chosen.batch) if chosen.batch else None)


def _on_batch(name: str, chosen: filters.JobFilter) -> Response:
    """By the batch's own act, which the io worker brings to its end: a retry takes the place of the job that failed."""
    here, act_id = services(), new_act_id()
    batch = batch_of(chosen.batch)
    if name == ActKind.RETRY:
        count_submission()
    here.ledger.begin_act(
        act_id, tenant(), batch.id, ActKind(name), Choice(state=State(chosen.show) if chosen.show else None)
    )
    over = work(here.ledger, here.permits, act_id, seconds=AT_ONCE_S)
    done = next((one.changed for one in here.ledger.acts([batch.id])[0] if one.id == act_id), 0)
    past = ACTS[name].past if over else f"{ACTS[name].past} by now; the farm goes on"
    line = here.activity.note(tenant(), who(), ACTS[name].past, chosen.said(batch), done)
    return jsonify(done=done, refused=0, why=[], cursor=None, line=line, past=past)


@console.post("/acts/<any(cancel, pause, resume, approve, retry):name>")
def act_on_many(name: str) -> Response:
    """The jobs `id`, else those of the filter: a few hundred in one call, which answers {"done", "refused", "cursor",
    "line"}; called again with the cursor until that is null."""
    act, ids = ACTS[name], request.form.getlist("id")
    if ids:
        if len(ids) > _AT_ONCE or not all(map(is_job_id, ids)):
            raise InvalidRequest(f"at most {_AT_ONCE} ids of jobs", "id")
        found = services().ledger.find_many(ids)
        if any(job is None or job.tenant != tenant() for job in found):
            raise NotFound("one of these jobs is not there")
        jobs, cursor, target = [job for job in found if job is not None], None, f"{len(ids)} chosen jobs"
    else:
        chosen = filters.JobFilter.of(request.form)
        if chosen.batch and not chosen.label and chosen.show not in filters.REASONS:
            return _on_batch(name, chosen)
        page = filters.page(tenant(), chosen, cursor=request.form.get("cursor") or None, limit=_AT_ONCE)
        jobs, cursor, target = list(page.jobs), page.cursor, _said(chosen)
    done, refused = 0, list[str]()
    for job in filter(act.fits, jobs):
        try:
            done += act.done(job)
        except RequestError as error:
            refused.append(error.detail)
        except FarmError:
            # what was done is told; the rest can be asked for again
            refused.append("the farm did not answer")
            break
    line = services().activity.note(tenant(), who(), act.past, target, done) if done or cursor is None else None
    return jsonify(done=done, refused=len(refused), why=refused[:1], cursor=cursor, line=line, past=act.past)
