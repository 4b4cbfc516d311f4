"""A farm and its providers as numbers: arrivals, local workers, prices, times and failures that change. Deterministic
by seed; a second of it takes no time."""

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from farm.burst.decision import Seen

#: s between two looks of a policy
TICK_S = 10.0


@dataclass(frozen=True)
class Seller:
    """One provider: dollars and seconds of a job at a moment, the share of jobs that fail (unbilled), None where it
    sells nothing then."""

    name: str
    price: Callable[[float], float | None]
    seconds: Callable[[float], float]
    fails: Callable[[float], float] = lambda _: 0.0


@dataclass
class Arrival:
    """One job. due_s: when it has to be finished."""

    at_s: float
    seconds: float
    due_s: float
    started_s: float | None = None
    done_s: float | None = None
    paid: float = 0.0


@dataclass
class SellerRecord:
    """What was learned of one provider, decayed."""

    asked: float = 0.0
    failed: float = 0.0
    seconds: float | None = None

    def went(self, ok: bool, seconds: float) -> None:
        """One more job of it is over."""
        self.asked, self.failed = 0.9 * self.asked + 1, 0.9 * self.failed + (not ok)
        self.seconds = seconds if self.seconds is None else 0.8 * self.seconds + 0.2 * seconds

    @property
    def seen(self) -> Seen:
        return Seen(self.failed / self.asked if self.asked else 0.0, self.seconds)


@dataclass
class World:
    """`queue` in order; `buy` is called with what waits and answers (job, provider's name) pairs."""

    shots: Sequence[Arrival]
    sellers: Sequence[Seller]
    slots: int
    seed: int = 1
    now: float = 0.0
    queue: list[Arrival] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    known: dict[str, SellerRecord] = field(default_factory=dict)
    spend: float = 0.0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.known = {one.name: SellerRecord() for one in self.sellers}
        self._there: list[tuple[float, int, Arrival, str, bool, float]] = []
        self._number = 0

    def listed(self) -> dict[str, float]:
        """Who sells now, for how much: prices are known, times are not."""
        return {one.name: price for one in self.sellers if (price := one.price(self.now)) is not None}

    def run(self, buy: Callable[["World"], list[tuple[Arrival, str]]]) -> "World":
        """Until every shot is done."""
        waiting = sorted(self.shots, key=lambda shot: shot.at_s)
        while waiting or self.queue or self._there or self.busy:
            while waiting and waiting[0].at_s <= self.now:
                self.queue.append(waiting.pop(0))
            self._arrive()
            self._render()
            for shot, name in buy(self):
                self._order(shot, name)
            self.now += TICK_S
        return self

    def _render(self) -> None:
        while self.busy and self.busy[0] <= self.now:
            heapq.heappop(self.busy)
        while self.queue and len(self.busy) < self.slots:
            shot = self.queue.pop(0)
            shot.started_s, shot.done_s = self.now, self.now + shot.seconds
            heapq.heappush(self.busy, shot.done_s)

    def _order(self, shot: Arrival, name: str) -> None:
        seller = next(one for one in self.sellers if one.name == name)
        price = seller.price(self.now)
        if price is None:
            return
        self.queue.remove(shot)
        took = seller.seconds(self.now) * self.rng.uniform(0.9, 1.1)
        ok = self.rng.random() >= seller.fails(self.now)
        self._number += 1
        heapq.heappush(self._there, (self.now + took, self._number, shot, name, ok, price))
        if shot.started_s is None:
            shot.started_s = self.now

    def _arrive(self) -> None:
        while self._there and self._there[0][0] <= self.now:
            at, _, shot, name, ok, price = heapq.heappop(self._there)
            self.known[name].went(ok, at - (shot.started_s or 0.0))
            if ok:
                shot.done_s, shot.paid = at, price
                self.spend += price
            else:
                shot.started_s = None
                self.queue.insert(0, shot)
