"""When to ask providers about the jobs that are open there. Pure: one process has the sockets and this schedule.

Pauses grow from the dialect's first to its longest, each spread by a fifth, so that hundreds of jobs that were bought
or resumed together are not asked about together.
"""

import heapq
import random
import threading
from dataclasses import dataclass

from farm.providers.entry import Entry

_GROWTH = 1.4
_SPREAD = 0.2
#: a job whose provider does not answer is asked about at least this often, s
_MISSED_MOST_S = 300.0


@dataclass
class _Asked:
    entry: Entry
    pause_s: float
    due: float
    misses: int = 0
    asking: bool = False


class Polls:
    """Threads may share one. `now` is any clock of seconds that does not go back."""

    def __init__(self, dice: random.Random | None = None) -> None:
        self._dice = dice or random.Random()  # noqa: S311 - a spread, no secret
        self._jobs: dict[str, _Asked] = {}
        self._heap: list[tuple[float, str]] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job_id: str, entry: Entry, now: float, *, resumed: bool = False) -> None:
        """A job that was just submitted, or one that is resumed: those are spread over one pause, beginning at once.
        A job that is there already stays as it is."""
        pause_s = min(entry.poll_first_s, entry.poll_max_s)
        wait_s = self._dice.random() * pause_s if resumed else self._spread(entry.poll_first_s)
        with self._lock:
            if job_id not in self._jobs:
                self._jobs[job_id] = _Asked(entry, pause_s, 0.0)
                self._at(job_id, now + wait_s)

    def due(self, now: float, most: int = 100) -> list[str]:
        """The jobs to ask about now, those first that have waited longest; each until it was answered or missed."""
        found: list[str] = []
        with self._lock:
            while self._heap and self._heap[0][0] <= now and len(found) < most:
                due, job_id = heapq.heappop(self._heap)
                job = self._jobs.get(job_id)
                # an entry of the heap that was overtaken, or a job that is over
                if job is not None and job.due == due and not job.asking:
                    job.asking = True
                    found.append(job_id)
        return found

    def answered(self, job_id: str, now: float) -> None:
        """It is still open there."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None:
                job.misses = 0
                wait_s = self._spread(job.pause_s)
                job.pause_s = min(job.pause_s * _GROWTH, job.entry.poll_max_s)
                self._at(job_id, now + wait_s)

    def missed(self, job_id: str, now: float, retry_after_s: float | None = None) -> None:
        """Nothing was learned: a missed poll, which says nothing about the job."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None:
                job.misses += 1
                wait_s = min(job.pause_s * 2.0 ** min(job.misses, 16), max(_MISSED_MOST_S, job.entry.poll_max_s))
                self._at(job_id, now + max(self._spread(wait_s), retry_after_s or 0.0))

    def soon(self, job_id: str, now: float) -> bool:
        """A callback came: ask now. False for a job that is not followed here, or is being asked about."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or job.asking:
                return False
            self._at(job_id, now)
            return True

    def remove(self, job_id: str) -> None:
        """It is over."""
        with self._lock:
            self._jobs.pop(job_id, None)

    def next_in(self, now: float) -> float | None:
        """Seconds until somebody is due; None when nobody will be."""
        with self._lock:
            while self._heap:
                due, job_id = self._heap[0]
                job = self._jobs.get(job_id)
                if job is not None and job.due == due and not job.asking:
                    return max(0.0, due - now)
                heapq.heappop(self._heap)
        return None

    def _at(self, job_id: str, due: float) -> None:
        job = self._jobs[job_id]
        job.due, job.asking = due, False
        heapq.heappush(self._heap, (due, job_id))

    def _spread(self, seconds: float) -> float:
        return seconds * (1 + _SPREAD * (2 * self._dice.random() - 1))
