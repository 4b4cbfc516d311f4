"""Following jobs until they are over: by the farm's event stream, and by asking now and then for what it may have
missed. Shows nothing; callers read `jobs`."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from farm.cli.remaining_time import RemainingTime
from farm.jobs.errors import FarmError, TooMany, Unavailable
from farm.jobs.states import HoldReason, Phase, State

if TYPE_CHECKING:
    from farm.client import Client
    from farm.wire.own_views import JobView

#: seconds between two looks at what the stream does not tell (positions in the queue) or may have missed
LOOK_S = 1.5
#: queued jobs that are listed at most after an operator paused or resumed something; the others come in their turn
_LISTED = 2000
#: jobs asked about at one look: a batch of thousands must not flood the gateway
LOOKS = 12
_TICK_S = 0.1
#: events of one job, of the tenant's stream
_OF_A_JOB = ("state", "progress")
_TOLD = ("state", "phase", "progress", "step", "steps", "attempt", "cancelling")


class Follow:
    """`jobs` are the latest views, in the order that was given; `paces` their forecasts."""

    def __init__(self, client: "Client", jobs: "Sequence[JobView]") -> None:
        self._client = client
        self._lock = threading.Lock()
        self._jobs = {job.id: job for job in jobs}
        self._remaining = {job.id: RemainingTime() for job in jobs}
        self._stop = threading.Event()
        self._changed = threading.Event()
        self._ended: list[str] = []
        self._turn = 0
        self._stale = False
        #: why the farm does not answer just now
        self.trouble: str | None = None

    @property
    def jobs(self) -> "list[JobView]":
        """The latest views, in the order that was given."""
        with self._lock:
            return list(self._jobs.values())

    def left_s(self, job_id: str) -> float | None:
        """Seconds until the job's render ends; None while that is unknown."""
        return self._remaining[job_id].left_s(time.monotonic())

    def until_over(self, show: Callable[[], None], *, timeout_s: float | None = None) -> "list[JobView]":
        """Call `show` whenever something may have changed, until every job is over. TimeoutError after timeout_s."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        listener = threading.Thread(target=self._listen, name="events", daemon=True)
        listener.start()
        try:
            look_at = 0.0
            while True:
                if (now := time.monotonic()) >= look_at or (self.trouble is None and (self._ended or self._stale)):
                    self._look()
                    look_at = now + LOOK_S
                show()
                if all(job.over for job in self.jobs):
                    return self.jobs
                if end is not None and time.monotonic() > end:
                    raise TimeoutError(f"not over after {timeout_s:g} s")
                self._changed.wait(_TICK_S)
                self._changed.clear()
        finally:
            # the thread hangs in a read: it ends with the process, or at its next event
            self._stop.set()

    def _listen(self) -> None:
        """The tenant's stream. Without it (too many streams, no farm) the looks alone go on."""
        opened = False
        while not self._stop.is_set():
            try:
                for event in self._client.jobs.events(stop=self._stop.is_set):
                    if self._stop.is_set():
                        return
                    if event.kind == "pause" or (event.kind == "ready" and (opened or event.data)):
                        # which of the jobs it keeps, and what came while nobody listened, the farm says when asked
                        self._stale = True
                    opened = opened or event.kind == "ready"
                    if event.kind in _OF_A_JOB and event.job in self._jobs:
                        self._merge(event.job, event.data)
            except (Unavailable, TooMany):
                self._stop.wait(LOOK_S)
            except FarmError:
                return

    def _merge(self, job_id: str, data: Mapping[str, Any]) -> None:
        from farm.wire.own_views import PauseView

        with self._lock:
            job = self._jobs[job_id]
            if job.over:
                return
            known: dict[str, Any] = {name: data[name] for name in _TOLD if data.get(name) is not None}
            known["held_for"] = [HoldReason(one) for one in str(data.get("held_for") or "").split()]
            known["operator_pauses"] = [PauseView.model_validate(one) for one in data.get("operator_pauses", ())]
            if "state" in known:
                known["state"] = State(known["state"])
            if "phase" in known:
                known["phase"] = Phase(known["phase"])
            if known.get("state") in (State.SUCCEEDED, State.FAILED, State.CANCELLED):
                # the event is thin: result and error come with a look
                self._ended.append(job_id)
            else:
                self._keep(job.model_copy(update=known))
        self._changed.set()

    def _look(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, []
            open_jobs = [job for job in self._jobs.values() if not job.over]
        running = self._from_turn([job.id for job in open_jobs if job.state is State.RUNNING])
        if self._stale:
            self._stale = False
            self._look_at_queued([job.id for job in open_jobs if job.state is State.QUEUED])
        others = self._from_turn([job.id for job in open_jobs if job.state is not State.RUNNING])
        # some of each at every look, and each in its turn
        chosen = [*running[: LOOKS - 2], *others[: max(2, LOOKS - len(running))]]
        self._turn += LOOKS // 2
        for job_id in dict.fromkeys([*ended, *chosen]):
            try:
                job = self._client.jobs.get(job_id)
            except Unavailable as error:
                # a farm restarts within moments: go on following after it
                self.trouble = str(error)
                with self._lock:
                    self._ended += ended
                return
            self.trouble = None
            with self._lock:
                self._keep(job)

    def _look_at_queued(self, ids: list[str]) -> None:
        """Many at once, where there are more than one look asks about."""
        left = set(ids) if len(ids) > LOOKS else set()
        try:
            for job in islice(self._client.jobs.list(state=State.QUEUED, page=200), _LISTED if left else 0):
                if job.id in left:
                    left.remove(job.id)
                    with self._lock:
                        self._keep(job)
                if not left:
                    return
        except Unavailable as error:
            self.trouble = str(error)
            self._stale = True

    def _from_turn(self, ids: list[str]) -> list[str]:
        turn = self._turn % max(1, len(ids))
        return ids[turn:] + ids[:turn]

    def _keep(self, job: "JobView") -> None:
        self._jobs[job.id] = job
        self._remaining[job.id].see(
            time.monotonic(),
            attempt=job.attempt,
            denoising=job.phase is Phase.DENOISING,
            step=job.step,
            steps=job.steps,
            progress=job.progress,
        )
