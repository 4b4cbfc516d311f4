"""/v1/jobs/{id}/events and /v1/events: what happens, as it happens."""

import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from flask import Response, stream_with_context

from api.auth import key_holds, tenant
from api.own.blueprint import own_api
from api.own.jobs import check_id, job_of, open_jobs, show
from api.own.operations import operation
from api.pauses import FollowedPauses, held_words
from api.services import services
from api.streams import COMMENT, LOOK_MS, Pulse, client_gone, frame, last_event_id, stopping
from farm.jobs.errors import FarmError
from farm.jobs.job import Job, JobEvent
from farm.jobs.states import TERMINAL, State
from farm.ledger import Ledger
from farm.wire.own_views import ProblemView

log = logging.getLogger(__name__)

_STREAM = "text/event-stream"
_RESUME = {
    "Last-Event-ID": "the id of the last event that was seen: the stream goes on after it, with a `snapshot` first "
    "when events between are no longer kept"
}
#: events that are read at once
_AT_ONCE = 100
#: open jobs that a snapshot of all shows; the rest by its cursor
_SHOWN = 100


@own_api.get("/v1/jobs/<job_id>/events")
@operation(
    "Follow a job",
    {200: _STREAM, 204: "", 404: ProblemView, 429: ProblemView, 503: ProblemView},
    headers=_RESUME,
)
def job_events(job_id: str) -> Response:
    """Begins with the job as it stands (`snapshot`), goes on with `state` and `progress`, ends when the job is over. A
    pause or a resume by an operator is a `state`, too (`held_for`, `operator_pauses`).
    Resumed after that end it answers 204, which makes an EventSource stop."""
    check_id(job_id)
    here, owner, seen = services(), tenant(), last_event_id()
    stream = here.ledger.stream_of(job_of(job_id))
    # before the job is read for its snapshot, so that nothing falls between that and what follows it
    newest = here.ledger.last_event_id(stream)
    job = job_of(job_id)
    pauses = FollowedPauses(here.pauses, lambda one: one in here.pauses.keeping(job_of(job_id)))
    frames: Iterator[bytes]
    if seen is None:
        rest: Iterator[bytes] = (
            iter(()) if job.state in TERMINAL else _follow(here.ledger, stream, newest, job_id, pauses)
        )
        frames = chain([frame("snapshot", show(job), newest)], rest)
    elif job.state in TERMINAL and here.ledger.events_missed(stream, seen):
        frames = iter([frame("snapshot", show(job), newest)])
    elif job.state in TERMINAL:
        missed = [frame(_kind(event), event.data, event.id) for event in _missed(here.ledger, stream, seen, job_id)]
        if not missed:
            return Response(status=204)
        frames = iter(missed)
    else:
        # a pause or a resume that was missed is no event that is kept
        queued = job.state is State.QUEUED and not here.ledger.events_missed(stream, seen)
        now = [frame("state", _stands(job))] if queued else []
        frames = chain(now, _follow(here.ledger, stream, seen, job_id, pauses))
    return here.streams.respond(owner, stream_with_context(frames))


@own_api.get("/v1/events")
@operation("Follow all jobs", {200: _STREAM, 429: ProblemView, 503: ProblemView}, headers=_RESUME)
def all_events() -> Response:
    """Everything that happens to the caller's jobs from now on, or after Last-Event-ID. Of the jobs of a batch it tells
    together, at most once a second (`batch`, with jobs by state). It begins with `ready`, and does not end by itself.
    `pause` tells that an operator paused or resumed what queued jobs of the caller's wait for, once for all of them:
    {kind: tenant, pool or lane, name, paused, at}; `ready` lists what is paused then (`operator_pauses`).
    Where events were lost (they are kept for a while only) it goes on with `snapshot`: the caller's open jobs as GET
    /v1/jobs lists them; what else was known as open has ended."""
    here, owner = services(), tenant()
    after = last_event_id() or here.ledger.last_event_id(owner)
    pauses = FollowedPauses(here.pauses, lambda one: here.pauses.concern(one, owner))
    ready = {"operator_pauses": [one.view for one in pauses.standing]} if pauses.standing else {}
    frames = chain([frame("ready", ready, after)], _follow(here.ledger, owner, after, None, pauses))
    return here.streams.respond(owner, stream_with_context(frames))


def _follow(ledger: Ledger, stream: str, after: str, job_id: str | None, pauses: FollowedPauses) -> Iterator[bytes]:
    """Frames of what happens after the event `after` of a stream: to one job until it is over, or to all of its."""
    gone: Callable[[], bool] = client_gone()
    holds = key_holds()
    pulse = Pulse()
    try:
        behind = True
        while holds() and not (stopping.is_set() or gone()):
            if behind and ledger.events_missed(stream, after):
                # what is read first, so that nothing falls between the snapshot and what follows it
                after = ledger.last_event_id(stream)
                job = job_of(job_id) if job_id is not None else None
                yield frame("snapshot", show(job) if job else open_jobs(_SHOWN), after)
                pulse.said()
                if job is not None and job.state in TERMINAL:
                    return
            events = ledger.events(stream, after=after, block_ms=LOOK_MS, count=_AT_ONCE)
            # a full answer: it may have been trimmed where this stream reads
            behind = len(events) == _AT_ONCE
            for event in services().pauses.in_events(events):
                after = event.id
                if job_id not in (None, event.job):
                    continue
                yield frame(_kind(event), event.data, event.id)
                pulse.said()
                if job_id is not None and event.data.get("state") in TERMINAL:
                    return
            for change in pauses.changes():
                pulse.said()
                yield frame("pause", change.event) if job_id is None else frame("state", _stands(job_of(job_id)))
            if pulse.due:
                pulse.said()
                if job_id is not None and job_of(job_id).state in TERMINAL:
                    # its last event was trimmed away before this stream came to it
                    yield frame("snapshot", show(job_of(job_id)), after)
                    return
                yield COMMENT
    except FarmError as error:
        # the headers are long sent: end, and the client comes back with the last id that it saw
        log.warning("an event stream ended: %s", error)


def _stands(job: Job) -> Mapping[str, Any]:
    """What a `state` event would say of a job now."""
    pauses = services().pauses
    about = {"label": job.label} if job.label else {}
    held = held_words(pauses.told(job), pauses.keeping(job))
    return {"job": job.id, "state": job.state, "attempt": job.attempt, **about, **held}


def _missed(ledger: Ledger, stream: str, after: str, job_id: str) -> Iterator[JobEvent]:
    while events := ledger.events(stream, after=after, count=1000):
        yield from (event for event in events if event.job == job_id)
        after = events[-1].id


def _kind(event: JobEvent) -> str:
    if not event.job:
        return "batch"
    return "progress" if "progress" in event.data else "state"
