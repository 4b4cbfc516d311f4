"""What happens to the caller's jobs, for the pages that are open: a stream of its own kind, with a quota of its own."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, cast

from flask import Flask, Response, current_app, stream_with_context
from werkzeug.local import LocalProxy

from api.auth import key_holds, tenant
from api.console import filters, words
from api.console.blueprint import console
from api.live_changes import LiveChanges, Rendered
from api.services import services
from api.streams import COMMENT, Pulse, client_gone, frame, stopping
from farm.jobs.errors import FarmError
from farm.jobs.states import State

log = logging.getLogger(__name__)

#: jobs that one frame tells one by one
_MOST = 120
#: seconds of one wait for a frame, and between two looks whether the session is still good
_WAIT_S, _CHECK_S = 1.0, 5.0


@console.get("/live")
def follow() -> Response:
    """Frames `changes`: {jobs: where they stand now, fresh: ids that were made, counts, more: look anew}."""
    here, owner = services(), tenant()
    rendered = _renderer(owner)
    frames = _frames(here.live, owner, rendered, client_gone(), key_holds())
    return here.console_streams.respond(owner, stream_with_context(frames))


def _renderer(owner: str) -> Rendered:
    """Works outside of a request, for whichever pages of the owner's are open."""
    app = cast("LocalProxy[Flask]", current_app)._get_current_object()

    def rendered(changed: Mapping[str, Mapping[str, Any]], passed_over: bool) -> bytes:
        with app.app_context():
            return changes(changed, passed_over, filters.counts(owner))

    return rendered


def changes(changed: Mapping[str, Mapping[str, Any]], passed_over: bool, counts: Mapping[str, int]) -> bytes:
    """The frame of what happened in a second."""
    fresh = [job_id for job_id, data in changed.items() if _is_new(data)]
    moved = {job_id: data for job_id, data in changed.items() if not _is_new(data)}
    told = [
        {"id": job_id, **asdict(words.status_of_event(data)), "state": data["state"]}
        for job_id, data in list(moved.items())[:_MOST]
    ]
    more = passed_over or len(moved) > _MOST
    return frame("changes", {"jobs": told, "fresh": fresh[:_MOST], "new": len(fresh), "counts": counts, "more": more})


def _is_new(data: Mapping[str, Any]) -> bool:
    opening = data.get("state") in (State.WAITING, State.QUEUED) and not data.get("attempt")
    return opening and not {"held_for", "cancelling", "retry_in_s"} & set(data)


def _frames(
    live: LiveChanges, owner: str, rendered: Rendered, gone: Callable[[], bool], holds: Callable[[], bool]
) -> Iterator[bytes]:
    pulse, check_at = Pulse(), 0.0
    try:
        with live.follow(owner, rendered) as follower:
            yield frame("ready", {})
            while not (stopping.is_set() or gone()):
                if time.monotonic() >= check_at:
                    if not holds():
                        yield frame("signed-out", {})
                        return
                    check_at = time.monotonic() + _CHECK_S
                if (told := follower.take(_WAIT_S)) is not None:
                    yield told
                    pulse.said()
                elif pulse.due:
                    pulse.said()
                    yield COMMENT
    except FarmError as error:
        log.warning("a console's stream ended: %s", error)
