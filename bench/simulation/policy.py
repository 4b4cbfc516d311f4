"""What a simulated farm asks of a rule, and the rules that others use."""

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

    def tick(self, now_s: float) -> list[tuple[TraceShot, float]]:
        """Now and then; shots that were lost, and in how many seconds each may be claimed again."""


class Plain:
    """A list that is searched for the first shot by `key`; what the alternatives have in common. They hear of a lost
    worker at the next tick."""

    name = "FIFO"

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.queue: list[TraceShot] = []
        self.gone: list[TraceShot] = []
        self.tries: dict[str, int] = defaultdict(int)
        self.used: dict[str, float] = defaultdict(float)
        self.running: dict[str, int] = defaultdict(int)

    def admit(self, shots: list[TraceShot], now_s: float) -> None:
        self.queue += shots

    def key(self, shot: TraceShot) -> tuple[object, ...]:
        """The least goes first."""
        return (shot.at_s, shot.name)

    def choose(self, shots: list[TraceShot], loaded: str | None) -> TraceShot:
        return min(shots, key=self.key)

    def claim(self, worker: int, loaded: str | None, now_s: float) -> TraceShot | None:
        fitting = [shot for shot in self.queue if self.trace.large[worker] or not shot.large]
        if not fitting:
            return None
        shot = self.choose(fitting, loaded)
        self.queue.remove(shot)
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
        self.queue.append(shot)
        return 0.0

    def lost(self, shot: TraceShot, worker: int, now_s: float) -> None:
        self.running[shot.tenant] -= 1
        self.gone.append(shot)

    def tick(self, now_s: float) -> list[tuple[TraceShot, float]]:
        back, self.gone = self.gone, []
        self.queue += back
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

    def choose(self, shots: list[TraceShot], loaded: str | None) -> TraceShot:
        shot = min(shots, key=lambda shot: (self.turn[shot.tenant], shot.at_s, shot.name))
        self.turns += 1
        self.turn[shot.tenant] = self.turns
        return shot


class FairAffinity(Plain):
    """Tier, then the tenant that used least, then its priorities; within 32 shots the loaded lane first."""

    name = "fair, affinity 32"

    def choose(self, shots: list[TraceShot], loaded: str | None) -> TraceShot:
        tier = min(_TIERS.index(shot.tier) for shot in shots)
        shots = [shot for shot in shots if _TIERS.index(shot.tier) == tier]
        tenant = min({shot.tenant for shot in shots}, key=lambda name: (self.used[name], name))
        own = sorted(
            (shot for shot in shots if shot.tenant == tenant),
            key=lambda shot: (-shot.priority, shot.deadline_s or 1e18, shot.at_s, shot.name),
        )
        return next((shot for shot in own[:32] if shot.lane == loaded), own[0])


class Lending(Plain):
    """A tenant has a percentage of the GPUs and lends what it does not use; that comes back as renders end."""

    name = "percentages, lent"

    def choose(self, shots: list[TraceShot], loaded: str | None) -> TraceShot:
        part = self.trace.gpus / len(self.trace.tenants)
        return min(shots, key=lambda shot: (self.running[shot.tenant] >= part, *self.key(shot)))


ALTERNATIVES: tuple[type[Plain], ...] = (Plain, Priority, RoundRobin, FairAffinity, Lending)
