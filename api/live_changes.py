"""What happens to jobs, for pages that follow it live: however many are open, one thread of a process reads a stream of
events (a tenant's, or a batch's: Ledger.stream_of), folds those of a second into one frame, and encodes it once."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from api.pauses import FollowedPauses, RecentPauses
from api.server.feed import Feed
from api.streams import COMMENT, LOOK_MS, Pulse, stopping
from farm.jobs.errors import FarmError
from farm.jobs.job import JobEvent
from farm.ledger import Ledger

log = logging.getLogger(__name__)

#: events read at one look; what is more was not seen one by one
_AT_ONCE = 2000
#: seconds between two looks: people see no more
_PACE_S = 1.0
#: frames that wait for a slow page; the next one that says `more` makes it look anew
_WAITING = 30
#: seconds between two looks whether a page's session is still good
_CHECK_S = 5.0

#: (job id -> what its events of the last second said, whether some were passed over, whether operators' pauses of some
#: of its jobs changed) -> the frame that is sent
Rendered = Callable[[Mapping[str, Mapping[str, Any]], bool, bool], bytes]


class LivePage:
    """One open page. `holds`: whether its session is still good; `last_words`: the frame for one whose is not."""

    def __init__(self, holds: Callable[[], bool], last_words: bytes = b"") -> None:
        self.feed = Feed(_WAITING)
        self._holds, self._last_words = holds, last_words
        self._pulse, self._check_at = Pulse(), time.monotonic() + _CHECK_S

    def give(self, frame: bytes) -> None:
        """Put a frame into the page's queue. Of more than _WAITING frames the oldest are dropped."""
        self.feed.give(frame)
        self._pulse.said()

    def mind(self) -> None:
        """Send what is due: a comment that keeps the connection open, or the end of a page whose session is over or
        cannot be checked."""
        if time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + _CHECK_S
            try:
                if not self._holds():
                    self.feed.give(self._last_words)
                    self.feed.end()
            except FarmError as error:
                # the headers are long sent: end, and the browser comes back
                log.warning("a console's stream ended: %s", error)
                self.feed.end()
        if self._pulse.due:
            self.give(COMMENT)


class LiveChanges:
    """Threads may share one."""

    def __init__(self, ledger: Ledger, pauses: RecentPauses) -> None:
        self._ledger, self._pauses = ledger, pauses
        self._pages: dict[str, list[LivePage]] = {}
        self._lock = threading.Lock()

    def join(self, stream: str, rendered: Rendered, page: LivePage) -> None:
        """Tell the page what a stream says from now on, until it leaves. The first page of a stream starts a thread
        that ends with the last one; `rendered` is then that of the first."""
        # before the thread starts, so that it begins where this page was made
        after = self._ledger.last_event_id(stream)
        tenant, _, batch = stream.partition("!")
        pauses = FollowedPauses(self._pauses, lambda one: self._pauses.concern(one, tenant, batch or None))
        with self._lock:
            others = self._pages.get(stream)
            if others is None:
                # nobody follows it, nor does a thread that is about to end
                others = self._pages[stream] = []
                threading.Thread(
                    target=self._read, args=(stream, after, pauses, rendered), name="live", daemon=True
                ).start()
            others.append(page)

    def leave(self, stream: str, page: LivePage) -> None:
        """The page was closed. May be called twice."""
        with self._lock:
            if page in (others := self._pages.get(stream, [])):
                others.remove(page)

    def _read(self, stream: str, after: str, pauses: FollowedPauses, rendered: Rendered) -> None:
        paused = False
        while (pages := self._still(stream)) and not stopping.is_set():
            for page in pages:
                page.mind()
            try:
                paused = bool(pauses.changes()) or paused
                events = self._ledger.events(stream, after=after, block_ms=0 if paused else LOOK_MS, count=_AT_ONCE)
                if not events and not paused:
                    continue
                told = self._pauses.in_events(events)
                full = len(events) == _AT_ONCE
                if events:
                    after = self._ledger.last_event_id(stream) if full else events[-1].id
                frame, paused = rendered(folded(told), full, paused), False
            except FarmError:
                stopping.wait(_PACE_S)
                continue
            except Exception:
                # what one event says must not blind the pages to all that follow
                log.exception("events of %s", stream)
                stopping.wait(_PACE_S)
                continue
            with self._lock:
                # also those that came while this was read
                pages = list(self._pages[stream])
            for page in pages:
                page.give(frame)
            stopping.wait(_PACE_S)
        for page in pages:
            page.feed.end()

    def _still(self, stream: str) -> list[LivePage]:
        """Those who follow the stream now; after the last one the thread ends, and its place is free."""
        with self._lock:
            found = list(self._pages[stream])
            if not found:
                del self._pages[stream]
            return found


def folded(events: Sequence[JobEvent]) -> dict[str, dict[str, Any]]:
    """Job id -> what its events said, the last word of each kind. A new state or attempt takes back what was said of
    progress and faults before. News of a batch as a whole stand under the batch's id."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        known = found.setdefault(event.job or str(event.data.get("batch")), {})
        if (known.get("state"), known.get("attempt")) != (event.data.get("state"), event.data.get("attempt")):
            known.clear()
        for name in ("held_for", "operator_pauses"):
            # an event that does not say so takes it back
            known.pop(name, None)
        known.update(event.data)
    return found
