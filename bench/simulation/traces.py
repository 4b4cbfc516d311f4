"""The traces, made from a seed and the number of GPUs; `size` scales how many shots there are."""

import random
from collections.abc import Callable, Iterable

from bench.simulation.trace import Crash, Trace, TraceShot
from farm.jobs.states import Tier

MEAN_S = 240.0


class _Maker:
    def __init__(self, gpus: int, size: float, seed: int) -> None:
        self.gpus, self.size, self.chance = gpus, size, random.Random(seed)
        self.shots: list[TraceShot] = []

    def count(self, per_gpu: float) -> int:
        return max(4, round(per_gpu * self.gpus * self.size))

    def add(self, tenant: str, at_s: float, *, wrong: float = 0.1, **more: object) -> None:
        """`wrong`: by which part of the truth predictions differ from it."""
        true_s = self.chance.uniform(0.5, 1.5) * MEAN_S * (2.0 if more.get("large") else 1.0)
        predicted_s = true_s * self.chance.uniform(1 - wrong, 1 + wrong)
        self.shots.append(TraceShot(f"{len(self.shots):06}", tenant, at_s, true_s, predicted_s, **more))  # type: ignore[arg-type]

    def dump(self, tenant: str, count: int, at_s: float = 0.0, **more: object) -> None:
        for _ in range(count):
            self.add(tenant, at_s, **more)  # type: ignore[arg-type]

    def trickle(self, tenant: str, count: int, over_s: float, **more: object) -> None:
        for n in range(count):
            self.add(tenant, over_s * (n + self.chance.random()) / count, **more)  # type: ignore[arg-type]

    def trace(
        self, name: str, *, small: Iterable[str] = (), crashes: Iterable[Crash] = (), mixed: bool = False
    ) -> Trace:
        large = tuple(not mixed or n % 4 == 0 for n in range(self.gpus))
        shots = tuple(sorted(self.shots, key=lambda shot: (shot.at_s, shot.name)))
        return Trace(name, shots, large, small=frozenset(small), crashes=tuple(crashes))


def dump(m: _Maker) -> Trace:
    """One tenant dumps everything at once while others trickle."""
    m.dump("dumps", m.count(60))
    for n in range(5):
        m.trickle(f"trickles{n}", m.count(2), 40 * MEAN_S)
    return m.trace("a dump beside trickles", small=[f"trickles{n}" for n in range(5)])


def bursts(m: _Maker) -> Trace:
    """Bursts with deadlines, from four tenants."""
    for n in range(4):
        for burst in range(4):
            at_s = (4 * burst + n) * 2 * MEAN_S
            for _ in range(m.count(2)):
                m.add(f"bursts{n}", at_s, deadline_s=at_s + m.chance.choice([4, 8, 16]) * MEAN_S)
    return m.trace("bursts with deadlines")


def lanes(m: _Maker) -> Trace:
    """Four tenants, each with shots in four lanes in turn."""
    for n in range(4):
        for shot in range(m.count(10)):
            m.add(f"mixes{n}", 0.0, lane=f"lane{(shot + n) % 4}")
    return m.trace("four lanes, each tenant in all")


def own_lanes(m: _Maker) -> Trace:
    """Six tenants, each with a lane of its own of four."""
    for n in range(6):
        m.dump(f"own{n}", m.count(7), lane=f"lane{n % 4}")
    return m.trace("four lanes, each tenant in one")


def crashes(m: _Maker) -> Trace:
    """Workers crash now and then."""
    for n in range(4):
        m.dump(f"t{n}", m.count(10))
    found = [Crash(w, m.chance.uniform(0, 30 * MEAN_S), 120.0) for w in range(m.gpus) if m.chance.random() < 0.5]
    return m.trace("workers that crash", crashes=found)


def returning(m: _Maker) -> Trace:
    """A tenant returns from idle to a farm that two others use."""
    for n in range(2):
        m.dump(f"stays{n}", m.count(18))
    m.dump("returns", m.count(2))
    m.dump("returns", m.count(8), at_s=16 * MEAN_S)
    return m.trace("a tenant returns from idle", small=["returns"])


def wrong(m: _Maker) -> Trace:
    """Predictions that are wrong by half, of one tenant always too low."""
    for n in range(3):
        m.dump(f"t{n}", m.count(10), wrong=0.5)
    for _ in range(m.count(10)):
        true_s = m.chance.uniform(0.5, 1.5) * MEAN_S
        m.shots.append(TraceShot(f"{len(m.shots):06}", "low", 0.0, true_s, true_s / 2))
    return m.trace("predictions wrong by half")


def poison(m: _Maker) -> Trace:
    """One tenant's shots fail wherever they run."""
    for n in range(3):
        m.dump(f"t{n}", m.count(10))
    m.dump("poison", m.count(4), poison=True)
    return m.trace("poison jobs")


def mixed(m: _Maker) -> Trace:
    """A quarter of the cards is large; some shots need one."""
    for n in range(3):
        m.dump(f"t{n}", m.count(10))
    m.trickle("large", m.count(2.5), 25 * MEAN_S, large=True)
    return m.trace("large shapes on a mixed pool", mixed=True, small=["large"])


def economy(m: _Maker) -> Trace:
    """Economy beside normal."""
    m.dump("cheap", m.count(15), tier=Tier.ECONOMY, deadline_s=10_000 * MEAN_S)
    for n in range(3):
        m.trickle(f"t{n}", m.count(7), 25 * MEAN_S)
    return m.trace("economy beside normal", small=[f"t{n}" for n in range(3)])


TRACES: dict[str, Callable[[_Maker], Trace]] = {
    make.__name__: make for make in (dump, bursts, lanes, own_lanes, crashes, returning, wrong, poison, mixed, economy)
}


def make(name: str, *, gpus: int, size: float = 1.0, seed: int = 1) -> Trace:
    """The trace `name` of TRACES for so many GPUs."""
    return TRACES[name](_Maker(gpus, size, seed))
