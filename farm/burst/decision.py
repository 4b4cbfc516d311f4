"""Which waiting jobs to buy, and of whom. Pure: numbers in, a decision with its numbers out."""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from farm.burst.local import Able
from farm.jobs.job import Job
from farm.jobs.states import Tier
from farm.providers.entry import Entry
from farm.providers.offers import Offer


@dataclass(frozen=True)
class PoolLoad:
    """A pool of our own at one moment. slots: jobs that its live workers take at once; paused: an operator lets nothing
    start; others_s: GPU-seconds predicted for what other tenants have queued; busy_s: for what runs. capped: the tenant
    stands at its cap on running jobs; slots and busy_s are what the cap leaves it."""

    pool: str
    slots: int
    running: int
    queued: int
    others_s: float = 0.0
    busy_s: float = 0.0
    paused: bool = False
    capped: bool = False


@dataclass(frozen=True)
class Promise:
    """What a tenant's jobs may wait; consent is asked elsewhere."""

    after_s: float
    until_share: float = 0.5
    least_depth: int = 2
    least_dwell_s: float = 10.0


@dataclass(frozen=True)
class QueuedJob:
    """A queued job. start_s, end_s: from now, as predicted here (inf: nobody is there to render it); dwell_s: since it
    was queued; due_s: until its deadline, None without one; idle: a worker of ours has nothing to do and will take it.
    """

    job: Job
    start_s: float
    end_s: float
    dwell_s: float
    due_s: float | None = None
    idle: bool = False

    def broken_s(self, promise: Promise, *, buying: bool) -> float:
        """By how much the promise breaks; 0 where it holds. While the farm is buying, a wait that would not have begun
        it still goes on with it."""
        limit_s = promise.after_s * (promise.until_share if buying else 1.0)
        late_s = self.end_s - self.due_s if self.due_s is not None else -math.inf
        return max(0.0, self.start_s - limit_s, late_s)


def predicted(
    jobs: Sequence[Job],
    load: PoolLoad,
    able: Callable[[Job], Able],
    *,
    share: float,
    now_ms: int,
    before: Mapping[Tier, float] | None = None,
    foretold: Callable[[Job, float], float | None] = lambda _job, _ahead_s: None,
) -> list[QueuedJob]:
    """When each of a tenant's queued jobs, in their order, will start here. `able`: who could render it; `foretold`:
    the scheduler's own forecast for a job with so many GPU-seconds of its tenant's before it in its tier, where there
    is one; otherwise `share`, the tenant's part of the pool in (0, 1] while others want theirs. `before`: GPU-seconds
    of the tenant's that are served before the first of `jobs`, by tier."""
    in_tier = dict.fromkeys(Tier, 0.0) | dict(before or {})
    found, own_s = [], sum(in_tier.values())
    for job in jobs:
        # others are served beside it, by their share, until they have nothing left
        before_s = own_s + min(load.others_s, own_s * (1 - share) / share)
        who = able(job)
        nobody = not load.slots or not who.count
        told_s = None if nobody else foretold(job, in_tier[job.tier])
        start_s = math.inf if nobody else (before_s + load.busy_s / 2) / load.slots
        start_s = start_s if told_s is None else told_s
        found.append(
            QueuedJob(
                job,
                start_s,
                start_s + job.predicted_s,
                dwell_s=max(0.0, (now_ms - (job.queued_ms or now_ms)) / 1000),
                due_s=None if job.deadline_ms is None else (job.deadline_ms - now_ms) / 1000,
                idle=who.idle > 0 and not load.paused and not load.capped,
            )
        )
        own_s += job.predicted_s
        in_tier[job.tier] += job.predicted_s
    return found


def to_buy(
    waiting: Iterable[QueuedJob], load: PoolLoad, promise: Promise, *, buying: bool
) -> list[tuple[QueuedJob, float]]:
    """Those whose promise breaks, in their order, with what is gained by buying each (seconds). A job that is bought
    is before no other: those behind it are looked at as if it were gone."""
    found: list[tuple[QueuedJob, float]] = []
    if load.queued < promise.least_depth:
        return found
    gone_s = 0.0
    for one in waiting:
        moved = one
        if load.slots and gone_s:
            sooner_s = gone_s / load.slots
            moved = replace(one, start_s=one.start_s - sooner_s, end_s=one.end_s - sooner_s)
        broken_s = moved.broken_s(promise, buying=buying)
        if broken_s and not one.idle and moved.dwell_s >= promise.least_dwell_s:
            found.append((moved, broken_s))
            gone_s += one.job.predicted_s
    return found


@dataclass(frozen=True)
class Seen:
    """What is known of a provider's model. failure: share of its jobs that fail; failed_cost: part of its price that
    one of those costs; seconds: from submission to the end; busy_wait_s: expected wait after a 429. None: nothing yet.
    """

    failure: float = 0.0
    seconds: float | None = None
    busy_wait_s: float = 0.0
    failed_cost: float = 0.0


#: nobody is taken to fail more often: then he is asked again now and then
MOST_FAILS = 0.95


@dataclass(frozen=True)
class Ranked:
    """An offer with its price as it will turn out, in millionths of a dollar, and what it is made of."""

    offer: Offer
    effective: int
    seconds: float
    seen: Seen
    explored: bool = False

    def late(self, due_s: float | None) -> bool:
        """Whether a result is not to be expected within `due_s`, failures included."""
        return due_s is not None and self.seconds / (1 - min(self.seen.failure, MOST_FAILS)) > due_s

    def words(self) -> str:
        """For whoever asks why."""
        what = f"{self.offer.provider} {self.offer.sold} ({self.offer.match})"
        return (
            f"{what} for {self.offer.price_micro / 1e6:.4f} dollars; "
            f"with failures ({self.seen.failure:.0%}) and {self.seconds:.0f} s it comes to {self.effective / 1e6:.4f}"
        )


#: a provider that was never seen is expected to take so long, s
UNSEEN_S = 180.0


@dataclass
class Chooser:
    """hour_usd: what an hour of waiting is worth; explore: part of the choices that go elsewhere."""

    hour_usd: float
    explore: float
    draw: Callable[[], float] = field(default=random.random)

    def ranked(
        self,
        offers: Sequence[Offer],
        entries: Mapping[str, Entry],
        seen: Callable[[Offer], Seen],
        due_s: float | None = None,
    ) -> list[Ranked]:
        """The best first: who will have it done within `due_s`, then the operator's lowest order, then by effective
        price. Now and then one of the others comes first, so that what is known of it stays true; not where it is
        urgent."""
        found = sorted(
            (self._judged(offer, seen(offer)) for offer in offers),
            key=lambda one: (one.late(due_s), entries[one.offer.provider].order, one.effective),
        )
        if len(found) > 1 and not found[-1].late(due_s) and self.draw() < self.explore:
            at = 1 + int(self.draw() * (len(found) - 1)) % (len(found) - 1)
            other = found.pop(at)
            found.insert(0, Ranked(other.offer, other.effective, other.seconds, other.seen, explored=True))
        return found

    def _judged(self, offer: Offer, seen: Seen) -> Ranked:
        seconds = (UNSEEN_S if seen.seconds is None else seen.seconds) + seen.busy_wait_s
        wait = seconds / 3600 * self.hour_usd * 1e6
        # one that fails costs its time, and what is billed of it, and is bought again
        fails = min(seen.failure, MOST_FAILS)
        again = fails / (1 - fails) * (offer.price_micro * seen.failed_cost + wait)
        return Ranked(offer, round(offer.price_micro + wait + again), seconds, seen)


def by_gain(found: Iterable[tuple[QueuedJob, float, Ranked]]) -> list[tuple[QueuedJob, float, Ranked]]:
    """Who gains most for each unit of money comes first; of equals the one that would wait longest."""

    def worth(one: tuple[QueuedJob, float, Ranked]) -> tuple[float, float]:
        waiting, gain_s, ranked = one
        return -(min(gain_s, 1e9) / max(1, ranked.effective)), -min(waiting.start_s, 1e9)

    return sorted(found, key=worth)
