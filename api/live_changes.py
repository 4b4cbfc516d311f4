"""What happens to a tenant's jobs, for pages that follow it live: however many are open, a process reads the events of
a tenant once, folds those of a second into one, and encodes them once."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from api.streams import LOOK_MS, stopping
from farm.jobs.errors import FarmError
from farm.jobs.job import JobEvent
from farm.ledger import Ledger

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
    def follow(self, tenant: str, rendered: Rendered) -> Iterator[LiveFollower]:
        """What happens to the tenant's jobs from now on. The first page of a tenant starts a thread that ends with the
        last one; `rendered` is then that of the first."""
        follower = LiveFollower()
        # before the thread starts, so that it begins where this page was made
        after = self._ledger.last_event_id(tenant)
        with self._lock:
            others = self._followers.setdefault(tenant, [])
            others.append(follower)
            if len(others) == 1:
                threading.Thread(target=self._read, args=(tenant, after, rendered), name="live", daemon=True).start()
        try:
            yield follower
        finally:
            with self._lock:
                others.remove(follower)

    def _read(self, tenant: str, after: str, rendered: Rendered) -> None:
        while (followers := self._still(tenant)) and not stopping.is_set():
            try:
                events = self._ledger.events(tenant, after=after, block_ms=LOOK_MS, count=_AT_ONCE)
                if not events:
                    continue
                full = len(events) == _AT_ONCE
                after = self._ledger.last_event_id(tenant) if full else events[-1].id
                frame = rendered(folded(events), full)
            except FarmError:
                stopping.wait(_PACE_S)
                continue
            for follower in followers:
                follower.give(frame)
            stopping.wait(_PACE_S)

    def _still(self, tenant: str) -> list[LiveFollower]:
        """Those who follow the tenant now; with the last one the thread's place is free again."""
        with self._lock:
            found = list(self._followers.get(tenant, ()))
            if not found:
                self._followers.pop(tenant, None)
            return found


def folded(events: list[JobEvent]) -> dict[str, dict[str, Any]]:
    """Job id -> what its events said, the last word of each kind. A new state or attempt takes back what was said of
    progress and faults before."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        known = found.setdefault(event.job, {})
        if (known.get("state"), known.get("attempt")) != (event.data.get("state"), event.data.get("attempt")):
            known.clear()
        known.update(event.data)
    return found
