"""What happens to the caller's jobs, for the pages that are open: a stream of its own kind, with a quota of its own."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, cast

from flask import Flask, Response, current_app, request
from werkzeug.local import LocalProxy

from api.auth import key_holds, tenant
from api.console import filters, words
from api.console.blueprint import console
from api.live_changes import LivePage, Rendered
from api.own.batches import batch_of
from api.services import services
from api.streams import frame
from farm.jobs.batch import is_batch_id
from farm.jobs.errors import FarmError
from farm.jobs.states import State

#: jobs that one frame tells one by one
_MOST = 120


@console.get("/live")
def follow() -> Response:
    """Frames `changes`: {jobs: where they stand now, fresh: ids that were made, batches: those of which some job moved,
    counts, paused: operators' pauses of some of these jobs changed, more: look anew}. `batch`: of its jobs one by one;
    without, of all others."""
    here, owner = services(), tenant()
    batch = request.args.get("batch") or None
    stream = owner if batch is None else f"{owner}!{batch_of(batch).id}"
    page = LivePage(key_holds(), frame("signed-out", {}))
    page.give(frame("ready", {}))
    here.live.join(stream, _renderer(owner, batch), page)
    try:
        response = here.console_streams.respond(owner, page.feed)
    except FarmError:
        here.live.leave(stream, page)
        raise
    response.call_on_close(partial(here.live.leave, stream, page))
    return response


def _renderer(owner: str, batch: str | None) -> Rendered:
    """Works outside of a request, for whichever pages of the stream are open."""
    app = cast("LocalProxy[Flask]", current_app)._get_current_object()

    def rendered(changed: Mapping[str, Mapping[str, Any]], passed_over: bool, paused: bool) -> bytes:
        """The page's changes, with counts as they are now."""
        with app.app_context():
            return changes(changed, passed_over, _counts(owner, batch), paused=paused)

    return rendered


def _counts(owner: str, batch: str | None) -> Mapping[str, int]:
    if batch is None:
        return filters.counts(owner)
    found = services().ledger.batch(owner, batch)
    return {} if found is None else filters.counts_of(found)


def changes(
    changed: Mapping[str, Mapping[str, Any]], passed_over: bool, counts: Mapping[str, int], *, paused: bool = False
) -> bytes:
    """The frame of what happened in a second."""
    batches = [one for one in changed if is_batch_id(one)]
    fresh = [job_id for job_id, data in changed.items() if _is_new(data)]
    moved = {one: data for one, data in changed.items() if not _is_new(data) and one not in batches}
    told = [
        {"id": job_id, **asdict(words.status_of_event(data)), "state": data["state"]}
        for job_id, data in list(moved.items())[:_MOST]
    ]
    more = passed_over or len(moved) > _MOST
    told_more = {
        "fresh": fresh[:_MOST],
        "new": len(fresh),
        "batches": batches,
        "counts": counts,
        "paused": paused,
        "more": more,
    }
    return frame("changes", {"jobs": told, **told_more})


def _is_new(data: Mapping[str, Any]) -> bool:
    opening = data.get("state") in (State.WAITING, State.QUEUED) and not data.get("attempt")
    # a job that came into what an operator paused is new all the same
    held = "held_for" in data and "operator_pauses" not in data
    return opening and not held and not {"cancelling", "retry_in_s"} & set(data)
