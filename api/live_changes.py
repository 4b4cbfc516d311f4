"""What happens to jobs, for pages that follow it live: however many are open, a process reads a stream of events (a
tenant's, or a batch's: Ledger.stream_of) once, folds those of a second into one, and encodes them once."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from api.streams import LOOK_MS, stopping
from farm.jobs.errors import FarmError
from farm.jobs.job import JobEvent
from farm.ledger import Ledger

log = logging.getLogger(__name__)

#: events read at one look; what is more was not seen one by one
_AT_ONCE = 2000
#: seconds between two looks: people see no more
_PACE_S = 1.0
#: frames that wait for a slow page; it is told that it missed some
_WAITING = 30

#: (job id -> what its events of the last second said, whether some were passed over) -> the frame that is sent
Rendered = Callable[[Mapping[str, Mapping[str, Any]], bool], bytes]


class LiveFollower:
    """One open page."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque(maxlen=_WAITING)
        self._came = threading.Condition()

    def give(self, frame: bytes) -> None:
        """A frame for the page. Of too many the oldest is dropped: the next one that says `more` makes it look anew."""
        with self._came:
            self._frames.append(frame)
            self._came.notify()

    def take(self, wait_s: float) -> bytes | None:
        """The next frame; None when none came in `wait_s`."""
        with self._came:
            if not self._frames:
                self._came.wait(wait_s)
            return self._frames.popleft() if self._frames else None


class LiveChanges:
    """Threads may share one."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._followers: dict[str, list[LiveFollower]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def follow(self, stream: str, rendered: Rendered) -> Iterator[LiveFollower]:
        """What a stream tells from now on. The first page of a stream starts a thread that ends with the last one;
        `rendered` is then that of the first."""
        follower = LiveFollower()
        # before the thread starts, so that it begins where this page was made
        after = self._ledger.last_event_id(stream)
        with self._lock:
            others = self._followers.get(stream)
            if others is None:
                # nobody follows it, nor does a thread that is about to end
                others = self._followers[stream] = []
                threading.Thread(target=self._read, args=(stream, after, rendered), name="live", daemon=True).start()
            others.append(follower)
        try:
            yield follower
        finally:
            with self._lock:
                others.remove(follower)

    def _read(self, stream: str, after: str, rendered: Rendered) -> None:
        while (followers := self._still(stream)) and not stopping.is_set():
            try:
                events = self._ledger.events(stream, after=after, block_ms=LOOK_MS, count=_AT_ONCE)
                if not events:
                    continue
                full = len(events) == _AT_ONCE
                after = self._ledger.last_event_id(stream) if full else events[-1].id
                frame = rendered(folded(events), full)
            except FarmError:
                stopping.wait(_PACE_S)
                continue
            except Exception:
                # what one event says must not blind the pages to all that follow
                log.exception("events of %s", stream)
                stopping.wait(_PACE_S)
                continue
            for follower in followers:
                follower.give(frame)
            stopping.wait(_PACE_S)

    def _still(self, stream: str) -> list[LiveFollower]:
        """Those who follow the stream now; after the last one the thread ends, and its place is free."""
        with self._lock:
            found = list(self._followers[stream])
            if not found:
                del self._followers[stream]
            return found


def folded(events: list[JobEvent]) -> dict[str, dict[str, Any]]:
    """Job id -> what its events said, the last word of each kind. A new state or attempt takes back what was said of
    progress and faults before. News of a batch as a whole stand under the batch's id."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        known = found.setdefault(event.job or str(event.data.get("batch")), {})
        if (known.get("state"), known.get("attempt")) != (event.data.get("state"), event.data.get("attempt")):
            known.clear()
        known.update(event.data)
    return found
