"""What a simulated farm asks of a rule, and the rules that others use."""

from bisect import bisect_left, insort
from collections import defaultdict
from typing import Protocol

from bench.simulation.trace import Trace, TraceShot
from farm.jobs.states import Tier

_TIERS = [Tier.URGENT, Tier.NORMAL, Tier.ECONOMY]
#: as the farm: a shot that fails is tried so many times
ATTEMPTS = 3


class Policy(Protocol):
    """Which shot a free worker takes. Times as in the trace."""

    name: str

    def admit(self, shots: list[TraceShot], now_s: float) -> None:
        """They are there now."""

    def claim(self, worker: int, loaded: str | None, now_s: float) -> TraceShot | None:
        """The worker is free."""

    def done(self, shot: TraceShot, worker: int, now_s: float, took_s: float) -> None:
        """It was rendered."""

    def failed(self, shot: TraceShot, worker: int, now_s: float, took_s: float) -> float | None:
        """It failed; how many seconds until it may be tried again, None when never."""

    def lost(self, shot: TraceShot, worker: int, now_s: float) -> None:
        """Its worker went away; heard by tick."""

    def tick(self, now_s: float) -> list[tuple[TraceShot, float | None]]:
        """Now and then; shots that were lost, and in how many seconds each may be claimed again, None when never."""


class Plain:
    """What the alternatives have in common: a queue per tier, tenant and size of card, in the order of `key`; `choose`
    picks among their first shots. They hear of a lost worker at the next tick."""

    name = "FIFO"

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.queues: dict[tuple[Tier, str, bool], list[tuple[tuple[object, ...], TraceShot]]] = defaultdict(list)
        self.gone: list[TraceShot] = []
        self.tries: dict[str, int] = defaultdict(int)
        self.used: dict[str, float] = defaultdict(float)
        self.running: dict[str, int] = defaultdict(int)

    def _queue(self, shot: TraceShot) -> list[tuple[tuple[object, ...], TraceShot]]:
        return self.queues[shot.tier, shot.tenant, shot.large]

    def admit(self, shots: list[TraceShot], now_s: float) -> None:
        for shot in shots:
            insort(self._queue(shot), (self.key(shot), shot))

    def key(self, shot: TraceShot) -> tuple[object, ...]:
        """The least goes first."""
        return (shot.at_s, shot.name)

    def choose(self, heads: list[TraceShot], worker: int, loaded: str | None) -> TraceShot:
        """`heads`: the first of each queue that the worker's card holds."""
        return min(heads, key=self.key)

    def claim(self, worker: int, loaded: str | None, now_s: float) -> TraceShot | None:
        holds = self.trace.large[worker]
        heads = [queue[0][1] for (_, _, large), queue in self.queues.items() if queue and (holds or not large)]
        if not heads:
            return None
        shot = self.choose(heads, worker, loaded)
        queue = self._queue(shot)
        del queue[bisect_left(queue, (self.key(shot),))]
        self.used[shot.tenant] += shot.predicted_s
        self.running[shot.tenant] += 1
        return shot

    def done(self, shot: TraceShot, worker: int, now_s: float, took_s: float) -> None:
        self.running[shot.tenant] -= 1
        self.used[shot.tenant] += took_s - shot.predicted_s

    def failed(self, shot: TraceShot, worker: int, now_s: float, took_s: float) -> float | None:
        self.done(shot, worker, now_s, took_s)
        self.tries[shot.name] += 1
        if self.tries[shot.name] >= ATTEMPTS:
            return None
        self.admit([shot], now_s)
        return 0.0

    def lost(self, shot: TraceShot, worker: int, now_s: float) -> None:
        self.running[shot.tenant] -= 1
        self.gone.append(shot)

    def tick(self, now_s: float) -> list[tuple[TraceShot, float | None]]:
        back, self.gone = self.gone, []
        self.admit(back, now_s)
        return [(shot, 0.0) for shot in back]


class Priority(Plain):
    """Tier, priority, deadline; then as it came. No tenants."""

    name = "strict priority"

    def key(self, shot: TraceShot) -> tuple[object, ...]:
        return (_TIERS.index(shot.tier), -shot.priority, shot.deadline_s or 1e18, shot.at_s, shot.name)


class RoundRobin(Plain):
    """Tenant after tenant, one shot each."""

    name = "round robin"

    def __init__(self, trace: Trace) -> None:
        super().__init__(trace)
        self.turn: dict[str, int] = defaultdict(int)
        self.turns = 0

    def choose(self, heads: list[TraceShot], worker: int, loaded: str | None) -> TraceShot:
        shot = min(heads, key=lambda shot: (self.turn[shot.tenant], *self.key(shot)))
        self.turns += 1
        self.turn[shot.tenant] = self.turns
        return shot


class FairAffinity(Plain):
    """Tier, then the tenant that used least, then its priorities; within 32 shots the loaded lane first."""

    name = "fair, affinity 32"

    def key(self, shot: TraceShot) -> tuple[object, ...]:
        return (-shot.priority, shot.deadline_s or 1e18, shot.at_s, shot.name)

    def choose(self, heads: list[TraceShot], worker: int, loaded: str | None) -> TraceShot:
        tier = min((shot.tier for shot in heads), key=_TIERS.index)
        tenant = min({shot.tenant for shot in heads if shot.tier == tier}, key=lambda name: (self.used[name], name))
        sizes = (False, True) if self.trace.large[worker] else (False,)
        own = [shot for size in sizes for _, shot in self.queues[tier, tenant, size][:32]]
        own.sort(key=self.key)
        return next((shot for shot in own[:32] if shot.lane == loaded), own[0])


class Lending(Plain):
    """A tenant has a percentage of the GPUs and lends what it does not use; that comes back as renders end."""

    name = "percentages, lent"

    def choose(self, heads: list[TraceShot], worker: int, loaded: str | None) -> TraceShot:
        part = self.trace.gpus / len(self.trace.tenants)
        return min(heads, key=lambda shot: (self.running[shot.tenant] >= part, *self.key(shot)))


ALTERNATIVES: tuple[type[Plain], ...] = (Plain, Priority, RoundRobin, FairAffinity, Lending)
