"""What operators paused, as this gateway read it a moment ago: a list of two hundred jobs asks once."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from farm.jobs.job import Job
from farm.jobs.lanes import model_of_lane
from farm.jobs.states import HoldReason, State
from farm.ledger import SwitchKind

#: seconds
_FRESH_S = 1.0


class RecentPauses:
    """`read` is Ledger.paused. Threads may share one."""

    def __init__(
        self, read: Callable[[], Mapping[tuple[SwitchKind, str], int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read, self._clock = read, clock
        self._lock = threading.Lock()
        self._known: tuple[float, frozenset[tuple[SwitchKind, str]]] = (-1e9, frozenset())

    def keep(self, job: Job) -> bool:
        """Whether an operator keeps a queued job from starting, with its tenant, its pool or its lane. Raises
        Unavailable."""
        if job.state is not State.QUEUED:
            return False
        paused = self._paused()
        return bool(paused) and not paused.isdisjoint(
            {
                (SwitchKind.TENANT, job.tenant),
                (SwitchKind.POOL, job.pool),
                (SwitchKind.LANE, job.lane),
                (SwitchKind.LANE, model_of_lane(job.lane)),
            }
        )

    def told(self, job: Job) -> Job:
        """The job as it is shown: one that an operator keeps is held, too."""
        if HoldReason.PAUSED in job.held_for or not self.keep(job):
            return job
        return replace(job, held_for=tuple(sorted((*job.held_for, HoldReason.PAUSED))))

    def changed(self) -> None:
        """Something was paused or resumed here."""
        with self._lock:
            self._known = (-1e9, frozenset())

    def _paused(self) -> frozenset[tuple[SwitchKind, str]]:
        now = self._clock()
        with self._lock:
            when, found = self._known
        if now - when >= _FRESH_S:
            found = frozenset(self._read())
            with self._lock:
                self._known = now, found
        return found
