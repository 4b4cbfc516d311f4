"""Server-sent events: how many at once, that dead clients are noticed, and that all end when the process is to end."""

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from flask import Response, request
from pydantic_core import to_json

from api.server.feed import Feed
from api.server.marks import GONE, STREAM
from farm.jobs.errors import InvalidRequest, TooMany, Unavailable
from monitoring.metrics import STREAMS

log = logging.getLogger(__name__)

#: a comment is sent after this long without anything else, so that proxies and clients see that it lives
KEEPALIVE_S = 15.0
#: how long one look for events waits, and so how fast a dead client or the end of the process is noticed
LOOK_MS = 1000
#: a refused client is asked to come back after this long
_RETRY_S = 5.0
_MAX_PART = 2**64
#: the pattern of a whole Last-Event-ID
EVENT_ID = r"[0-9]{1,20}(?:-[0-9]{1,20})?"
#: what clients send that have seen no event yet
_NO_ID = frozenset({"", "undefined", "null", "None"})

#: set when this process is to end: streams never end by themselves
stopping = threading.Event()


class Streams:
    """The event streams of one process. Each holds one of its threads, unless it is a Feed."""

    def __init__(self, most: int, most_each: int) -> None:
        """`most` at once, and `most_each` of one tenant."""
        self._most, self._most_each = most, most_each
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def respond(self, tenant: str, frames: Iterator[bytes] | Feed) -> Response:
        """Raises TooMany when the tenant has as many as it may have, Unavailable when all have."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            response = Response(headers=headers, mimetype="text/event-stream")
            # a stream has no size, and not the size 0
            response.automatically_set_content_length = False
            return response
        self._take(tenant)
        response = Response(frames, headers=headers, mimetype="text/event-stream")
        response.call_on_close(partial(self._release, tenant))
        request.environ[STREAM] = frames if isinstance(frames, Feed) else True
        return response

    @contextmanager
    def place(self, tenant: str) -> Iterator[None]:
        """A thread of this process for a connection that stays. Raises as respond does."""
        self._take(tenant)
        try:
            yield
        finally:
            self._release(tenant)

    def _take(self, tenant: str) -> None:
        with self._lock:
            if self._open[tenant] >= self._most_each:
                why = f"{self._most_each} event streams of yours are open, which is the limit; poll the jobs instead"
                raise TooMany(why, retry_after_s=_RETRY_S)
            if self._open.total() >= self._most:
                raise Unavailable("as many event streams are open as this farm allows; poll the job instead", _RETRY_S)
            self._open[tenant] += 1
        STREAMS.inc()

    def _release(self, tenant: str) -> None:
        with self._lock:
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]
        STREAMS.dec()


def frame(event: str, data: Any, event_id: str | None = None) -> bytes:
    """One server-sent event; `data` is sent as JSON unless it is bytes."""
    body = data if isinstance(data, bytes) else to_json(data)
    return (f"id: {event_id}\n" if event_id else "").encode() + b"event: %s\ndata: %s\n\n" % (event.encode(), body)


COMMENT = b": alive\n\n"


def last_event_id() -> str | None:
    """The Last-Event-ID of the request. Raises InvalidRequest for one that no stream of ours gave."""
    text = request.headers.get("Last-Event-ID")
    if text is None or text.strip() in _NO_ID:
        return None
    if not re.fullmatch(EVENT_ID, text) or not all(int(part) < _MAX_PART for part in text.split("-")):
        raise InvalidRequest("not an id that an event stream of this farm gave", "Last-Event-ID")
    return text


def client_gone() -> Callable[[], bool]:
    """Whether the client of the request at hand has hung up; asked later, without waiting."""
    gone: Callable[[], bool] = request.environ.get(GONE, lambda: False)
    return gone


class Pulse:
    """When the next sign of life is due."""

    def __init__(self) -> None:
        self.said()

    def said(self) -> None:
        """Something was sent: the next sign of life is due KEEPALIVE_S from now."""
        self._due = time.monotonic() + KEEPALIVE_S

    @property
    def due(self) -> bool:
        """Whether it is time for a sign of life."""
        return time.monotonic() >= self._due
