"""What is simulated: shots that arrive, workers that render them, and what goes wrong. Times are seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from farm.jobs.states import Tier

#: to load a model that is not the worker's
LOAD_S = 60.0


@dataclass(frozen=True)
class TraceShot:
    """`true_s` of one GPU, which the farm predicts as `predicted_s`. `deadline_s`, a time; `large`: only a large card
    holds it. `poison`: it fails on every worker after a tenth of its time."""

    name: str
    tenant: str
    at_s: float
    true_s: float
    predicted_s: float
    lane: str = "wan"
    priority: int = 5
    deadline_s: float | None = None
    tier: Tier = Tier.NORMAL
    large: bool = False
    poison: bool = False


@dataclass(frozen=True)
class Crash:
    """The worker loses its job at `at_s` and is back, with nothing loaded, after `away_s`."""

    worker: int
    at_s: float
    away_s: float


@dataclass(frozen=True)
class Trace:
    """large[n]: whether worker n has a large card. `small`: tenants whose waiting is watched. weights: 1 where a tenant
    has none."""

    name: str
    shots: tuple[TraceShot, ...]
    large: tuple[bool, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    small: frozenset[str] = frozenset()
    crashes: tuple[Crash, ...] = ()

    @property
    def gpus(self) -> int:
        return len(self.large)

    @property
    def tenants(self) -> tuple[str, ...]:
        return tuple(sorted({shot.tenant for shot in self.shots}))


@dataclass
class Run:
    """One stretch of a worker on a shot: `began_s` to `ended_s`, of which the first `load_s` were loading. `done`: the
    shot was finished by it."""

    shot: TraceShot
    worker: int
    began_s: float
    load_s: float
    ended_s: float
    done: bool
