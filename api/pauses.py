"""What operators paused, as this gateway read it a moment ago: a list of two hundred jobs asks once."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from farm.jobs.job import Job, JobEvent
from farm.jobs.lanes import model_of_lane
from farm.jobs.states import HoldReason, State
from farm.ledger import Ledger, SwitchKind
from farm.wire.own_views import PauseEvent, PauseView, moment

#: seconds
_FRESH_S = 1.0
#: the same of what is found by looking at queued jobs
_LOOKED_S = 10.0
#: tenants and batches of which that is remembered
_LOOKED_AT = 1000
#: jobs that one script call reads
_READ_AT_ONCE = 200
#: what keeps jobs in their queue; a locked worker leaves them to others
_KEEPING = frozenset({SwitchKind.TENANT, SwitchKind.POOL, SwitchKind.LANE})


@dataclass(frozen=True)
class Pause:
    """What an operator paused, since when (ms). In a change that is not `paused`: resumed, and when that was seen."""

    kind: SwitchKind
    name: str
    at_ms: int
    paused: bool = True

    @property
    def view(self) -> PauseView:
        """As the API shows one that is in force."""
        return PauseView(kind=self.kind.value, name=self.name, since=moment(self.at_ms))

    @property
    def event(self) -> PauseEvent:
        """As a stream tells it."""
        return PauseEvent(kind=self.kind.value, name=self.name, paused=self.paused, at=moment(self.at_ms))


class RecentPauses:
    """Threads may share one."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._clock = ledger, clock
        self._lock = threading.Lock()
        #: how often something was paused or resumed here: what was read before the last time is not kept
        self._changes = 0
        self._known: tuple[float, frozenset[Pause]] = (-1e9, frozenset())
        self._over: dict[tuple[str, str | None], tuple[float, frozenset[Pause], list[Pause]]] = {}

    def now(self) -> frozenset[Pause]:
        """Those in force that keep jobs in their queue. Raises Unavailable."""
        now = self._clock()
        with self._lock:
            (when, found), changes = self._known, self._changes
        if now - when >= _FRESH_S:
            paused = self._ledger.paused()
            found = frozenset(Pause(kind, name, at) for (kind, name), at in paused.items() if kind in _KEEPING)
            with self._lock:
                if changes == self._changes:
                    self._known = now, found
        return found

    def changed(self) -> None:
        """Something was paused or resumed here."""
        with self._lock:
            self._changes += 1
            self._known = (-1e9, frozenset())
            self._over.clear()

    def keeping(self, job: Job) -> list[Pause]:
        """Those that keep a queued job from starting, with its tenant, its pool or its lane. Raises Unavailable."""
        if job.state is not State.QUEUED or not (paused := self.now()):
            return []
        names = {
            (SwitchKind.TENANT, job.tenant),
            (SwitchKind.POOL, job.pool),
            (SwitchKind.LANE, job.lane),
            (SwitchKind.LANE, model_of_lane(job.lane)),
        }
        return _in_order(one for one in paused if (one.kind, one.name) in names)

    def told(self, job: Job) -> Job:
        """The job as it is shown: one that an operator keeps is held, too."""
        if HoldReason.PAUSED in job.held_for or not self.keeping(job):
            return job
        return replace(job, held_for=tuple(sorted((*job.held_for, HoldReason.PAUSED))))

    def concern(self, one: Pause, tenant: str, batch: str | None = None) -> bool:
        """Whether a pause keeps a queued job of the tenant, or of its batch. Raises Unavailable."""
        if one.kind is SwitchKind.TENANT:
            return one.name == tenant
        return self._ledger.any_queued(tenant, one.kind, one.name, batch=batch)

    def over(self, tenant: str, batch: str | None = None) -> list[Pause]:
        """Those that keep queued jobs of a tenant or of its batch, as it was some seconds ago. Raises Unavailable."""
        paused, now = self.now(), self._clock()
        if not paused:
            return []
        with self._lock:
            when, then, found = self._over.get((tenant, batch), (-1e9, paused, []))
        if then != paused or now - when >= _LOOKED_S:
            found = _in_order(one for one in paused if self.concern(one, tenant, batch))
            with self._lock:
                if len(self._over) >= _LOOKED_AT:
                    self._over.clear()
                self._over[tenant, batch] = now, paused, found
        return found

    def in_events(self, events: Sequence[JobEvent]) -> Sequence[JobEvent]:
        """Events as they are told: of a job that was queued and that an operator keeps, that it is paused."""
        queued = list(dict.fromkeys(event.job for event in events if event.data.get("state") == State.QUEUED))
        if not queued or not self.now():
            return events
        found: dict[str, Job] = {}
        for at in range(0, len(queued), _READ_AT_ONCE):
            jobs = self._ledger.find_many(queued[at : at + _READ_AT_ONCE])
            found |= {job.id: job for job in jobs if job is not None}
        return [self._in_event(event, found[event.job]) if event.job in found else event for event in events]

    def _in_event(self, event: JobEvent, job: Job) -> JobEvent:
        if event.data.get("state") != State.QUEUED or not (kept := self.keeping(job)):
            return event
        return JobEvent(event.id, event.job, {**event.data, **held_words(self.told(job), kept)})


class FollowedPauses:
    """The changes of operators' pauses, for one stream. `concern`: whether it is to be told of a pause."""

    def __init__(self, pauses: RecentPauses, concern: Callable[[Pause], bool]) -> None:
        """Begins with what is in force. Raises Unavailable."""
        self._pauses, self._concern = pauses, concern
        self._known = pauses.now()
        #: those that were in force then, of which the stream is to be told
        self.standing = [one for one in _in_order(self._known) if self._concern(one)]
        self._told = {(one.kind, one.name) for one in self.standing}

    def changes(self) -> list[Pause]:
        """What was paused or resumed since the last call. A resume is told where the pause was, too. Raises
        Unavailable."""
        now = self._pauses.now()
        if now == self._known:
            return []
        begun = [one for one in _in_order(now - self._known) if self._concern(one)]
        still, at_ms = {(one.kind, one.name) for one in now}, int(time.time() * 1000)
        over = [
            Pause(one.kind, one.name, at_ms, paused=False)
            for one in _in_order(self._known - now)
            if (one.kind, one.name) not in still and ((one.kind, one.name) in self._told or self._concern(one))
        ]
        self._known = now
        self._told = (self._told & still) | {(one.kind, one.name) for one in begun}
        return begun + over


def held_words(job: Job, kept: Sequence[Pause]) -> Mapping[str, object]:
    """What an event says of why a job does not start; `kept`: of operators' pauses."""
    pauses = {"operator_pauses": [one.view.model_dump(mode="json") for one in kept]} if kept else {}
    return ({"held_for": " ".join(job.held_for)} if job.held_for else {}) | pauses


def _in_order(pauses: Iterable[Pause]) -> list[Pause]:
    return sorted(pauses, key=lambda one: (one.kind, one.name))
