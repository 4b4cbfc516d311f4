"""The simulated farm: events in the order of their virtual times."""

import heapq
from bisect import insort
from dataclasses import dataclass, field
from itertools import count, groupby

from bench.simulation.bound import POISON_PART
from bench.simulation.policy import Policy
from bench.simulation.trace import LOAD_S, Run, Trace, TraceShot

#: how often the policy's tick is called: leases are renewed and reaped
TICK_S = 30.0


@dataclass
class Simulated:
    """`idle_s`: GPU-seconds in which a worker idled while a shot that it could run was queued. `ended`: shot -> when it
    was done or given up. started: shot -> when it first ran."""

    trace: Trace
    policy: str
    runs: list[Run] = field(default_factory=list)
    started: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    idle_s: float = 0.0
    loads: int = 0


class _Farm:
    def __init__(self, trace: Trace, policy: Policy) -> None:
        self.trace, self.policy = trace, policy
        self.out = Simulated(trace, policy.name)
        self.order = count()
        self.events: list[tuple[float, int, str, object]] = []
        self.loaded: list[str | None] = [None] * trace.gpus
        self.running: dict[int, Run] = {}
        #: workers that are there and have nothing to do, in their order
        self.free = list(range(trace.gpus))
        #: how many shots are queued that any card holds, and that large ones hold
        self.queued = {False: 0, True: 0}
        self.now = 0.0
        for at_s, shots in groupby(sorted(trace.shots, key=lambda shot: shot.at_s), key=lambda shot: shot.at_s):
            self.at(at_s, "arrive", list(shots))
        for crash in trace.crashes:
            self.at(crash.at_s, "crash", crash)
        self.at(TICK_S, "tick", None)

    def at(self, when_s: float, what: str, about: object) -> None:
        heapq.heappush(self.events, (when_s, next(self.order), what, about))

    def go(self) -> Simulated:
        while self.events and len(self.out.ended) < len(self.trace.shots):
            when_s = self.events[0][0]
            self._count_idle(when_s - self.now)
            self.now = when_s
            while self.events and self.events[0][0] == when_s:
                _, _, what, about = heapq.heappop(self.events)
                getattr(self, f"on_{what}")(about)
            self._claims()
        return self.out

    def _count_idle(self, seconds: float) -> None:
        if self.free and seconds > 0:
            able = min(sum(self.trace.large[n] for n in self.free), self.queued[True])
            self.out.idle_s += seconds * (able + min(len(self.free) - able, self.queued[False]))

    def _claims(self) -> None:
        for worker in list(self.free):
            # who holds nothing of what is queued need not ask
            if not self.queued[False] and not (self.queued[True] and self.trace.large[worker]):
                continue
            shot = self.policy.claim(worker, self.loaded[worker], self.now)
            if shot is None:
                continue
            self.free.remove(worker)
            self.queued[shot.large] -= 1
            self.out.started.setdefault(shot.name, self.now)
            load_s = 0.0 if self.loaded[worker] == shot.lane else LOAD_S
            self.out.loads += load_s > 0
            self.loaded[worker] = shot.lane
            true_s = shot.true_s * (POISON_PART if shot.poison else 1.0)
            run = Run(shot, worker, self.now, load_s, self.now + load_s + true_s, not shot.poison)
            self.running[worker] = run
            self.at(run.ended_s, "end", run)

    def on_arrive(self, shots: list[TraceShot]) -> None:
        for shot in shots:
            self.queued[shot.large] += 1
        self.policy.admit(shots, self.now)

    def on_end(self, run: Run) -> None:
        if self.running.get(run.worker) is not run:
            return  # it crashed before
        del self.running[run.worker]
        insort(self.free, run.worker)
        self.out.runs.append(run)
        took_s = run.ended_s - run.began_s
        if run.done:
            self.policy.done(run.shot, run.worker, self.now, took_s)
            self.out.ended[run.shot.name] = self.now
            return
        wait_s = self.policy.failed(run.shot, run.worker, self.now, took_s)
        if wait_s is None:
            self.out.ended[run.shot.name] = self.now
        else:
            self.at(self.now + wait_s, "again", run.shot)

    def on_again(self, shot: TraceShot) -> None:
        self.queued[shot.large] += 1

    def on_crash(self, crash: object) -> None:
        worker = crash.worker  # type: ignore[attr-defined]
        self.loaded[worker] = None
        run = self.running.pop(worker, None)
        if run is None:
            self.free.remove(worker)
        else:
            run.ended_s, run.done = self.now, False
            self.out.runs.append(run)
            self.policy.lost(run.shot, worker, self.now)
        self.at(self.now + crash.away_s, "back", worker)  # type: ignore[attr-defined]

    def on_back(self, worker: int) -> None:
        insort(self.free, worker)

    def on_tick(self, _: None) -> None:
        for shot, wait_s in self.policy.tick(self.now):
            if wait_s is None:
                self.out.ended[shot.name] = self.now
            else:
                self.at(self.now + wait_s, "again", shot)
        self.at(self.now + TICK_S, "tick", None)


def simulate(trace: Trace, policy: Policy) -> Simulated:
    """Run the trace to its end."""
    return _Farm(trace, policy).go()
