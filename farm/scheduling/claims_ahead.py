"""A simulation of the claim rule (lua/claim.lua) on the queues of one line, claim by claim. It follows two of its
rules: a worker prefers the lane that it has loaded, within bounds, and of the last jobs of a line the longest is first.
It knows nothing of memory, limits and headroom. Pure."""

import heapq
import random
from bisect import insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

#: by how much a render, and what is left of a running one, differs from its prediction: a part of it
_RENDER, _LEFT = 0.1, 0.2
#: tenants that a worker looks at for a job of the model that it has loaded (NEAR_MOST of lua/lib/claim_affinity.lua)
_NEAR_TENANTS = 8
#: up to how many last jobs of a line are followed, and how often one of them is passed over. For lua/lib/claim_last.lua
#: up to 1,024 are the last ones: which of so many it looks at cannot be known
LAST_MOST, _LAST_PASSES = 64, 4
#: a tenant with more renders under way than that may be passed over more often, and for longer
_REACH_ONE = 3


@dataclass(frozen=True)
class FrontJob:
    """A queued job. seconds: that its render is expected to take; passes: how often it was passed over; deadline_ms:
    since the epoch, 0 for none."""

    lane: str
    seconds: float
    priority: int = 5
    passes: int = 0
    deadline_ms: int = 0


@dataclass(frozen=True)
class OrderRule:
    """The settings of the claim rule.

    window        among so many of the first jobs of one priority the loaded lane is preferred
    passes        how often a job may be passed over for that
    load_s        seconds that loading another model takes
    slack_s       GPU-seconds by which another tenant may go before its turn
    longest_last  whether the last jobs of the line go longest first
    """

    window: int
    passes: int
    load_s: float = 0.0
    slack_s: float = 0.0
    longest_last: bool = False


@dataclass(frozen=True)
class Front:
    """A tenant in the line: the first of its `queued` jobs, its virtual time and its weight. level: of its pace, by
    which the jobs' seconds are multiplied already (farm.scheduling.pace)."""

    jobs: Sequence[FrontJob]
    time: float
    weight: float
    queued: int
    level: float = 1.0


@dataclass(frozen=True)
class FreeSlot:
    """A worker's slot: when it is free (s from now), the lane that it has loaded then, and the tenant whose job it runs
    until then; '' for none."""

    free_s: float
    lane: str = ""
    tenant: str = ""


@dataclass
class _Left:
    rank: int
    job: FrontJob
    passes: int


@dataclass(frozen=True)
class Claimed:
    """One claim: of the job at `rank` in its tenant's queue (0: the first). before_s: GPU-seconds of the tenant's jobs
    that were claimed before it; at_s: when it was claimed, s from now."""

    tenant: str
    rank: int
    before_s: float
    at_s: float


class ClaimsAhead:
    """One simulation; it can be followed once. chance: draws by how much each render differs from its prediction."""

    def __init__(
        self, fronts: Mapping[str, Front], slots: Sequence[FreeSlot], rule: OrderRule, chance: random.Random
    ) -> None:
        self._fronts, self._rule, self._chance = fronts, rule, chance
        self._left = {
            name: [_Left(n, job, job.passes) for n, job in enumerate(front.jobs)] for name, front in fronts.items()
        }
        self._waiting = sum(map(len, self._left.values()))
        #: times and tenants, the next first
        self._turns = sorted((front.time, name) for name, front in fronts.items() if front.jobs)
        self._slots = [
            (one.free_s * chance.uniform(1 - _LEFT, 1 + _LEFT), n, one.lane, one.tenant) for n, one in enumerate(slots)
        ]
        self._under_way = Counter(one.tenant for one in slots)

    def followed(self) -> Iterator[Claimed]:
        """Every claim, in the order in which they are made, until nothing waits."""
        begun_s = dict.fromkeys(self._fronts, 0.0)
        heapq.heapify(self._slots)
        while self._turns and self._slots:
            now_s, n, loaded, before = self._slots[0]
            self._under_way[before] -= 1
            turn, at = self._chosen(loaded)
            time, name = self._turns.pop(turn)
            one = self._left[name].pop(at)
            yield Claimed(name, one.rank, begun_s[name], now_s)
            begun_s[name] += one.job.seconds
            takes_s = one.job.seconds * self._chance.gauss(1.0, _RENDER)
            takes_s += (one.job.lane != loaded) * self._rule.load_s
            heapq.heapreplace(self._slots, (now_s + takes_s, n, one.job.lane, name))
            self._under_way[name] += 1
            self._waiting -= 1
            if self._left[name]:
                insort(self._turns, (time + one.job.seconds / self._fronts[name].weight, name))

    def _chosen(self, loaded: str) -> tuple[int, int]:
        """The turn, and the place in that tenant's queue, of the job that a worker with this lane takes; those that it
        passes over are counted."""
        name = self._turns[0][1]
        left = self._left[name]
        last = self._last(left[0], loaded)
        if last:
            left[0].passes += last != (0, 0)
            return last
        taken = self._preferred(left, loaded, self._rule.passes * self._reach(name))
        if loaded and self._rule.slack_s and _model(left[taken].job.lane) != _model(loaded):
            turn = self._near_turn(left[0], _model(loaded))
            left[0].passes += turn > 0
            return turn, 0
        for one in left[:taken]:
            one.passes += 1
        return 0, taken

    def _near_turn(self, first: _Left, model: str) -> int:
        """The turn of another tenant whose first job is of this model, where it is near."""
        if first.passes + 1 > self._rule.passes * self._reach(self._turns[0][1]):
            return 0
        latest = self._latest()
        for turn, (time, tenant) in enumerate(self._turns[1:_NEAR_TENANTS], 1):
            if time > latest:
                break
            if _model(self._left[tenant][0].job.lane) == model:
                return turn
        return 0

    def _latest(self) -> float:
        """Up to which time another tenant may go before the first."""
        time, tenant = self._turns[0]
        return time + self._rule.slack_s * self._reach(tenant) / self._fronts[tenant].weight

    def _reach(self, tenant: str) -> float:
        return max(1.0, self._under_way[tenant] / _REACH_ONE)

    def _last(self, first: _Left, loaded: str) -> tuple[int, int] | None:
        """Where no more jobs wait than run: the longest, of the loaded model if there is one."""
        few = 1 < self._waiting <= min(LAST_MOST, len(self._slots)) and len(self._turns) <= _NEAR_TENANTS
        passes = min(_LAST_PASSES, self._rule.passes) * self._reach(self._turns[0][1])
        if not self._rule.longest_last or not few or first.passes + 1 > passes:
            return None
        latest, model = self._latest(), _model(loaded)
        found: list[tuple[bool, float, int, int]] = []
        for turn, (time, tenant) in enumerate(self._turns):
            if time > latest:
                break
            head, level = self._left[tenant][0].job, self._fronts[tenant].level
            for at, one in enumerate(self._left[tenant]):
                if (one.job.priority, one.job.deadline_ms) == (head.priority, head.deadline_ms):
                    warm = bool(model) and _model(one.job.lane) == model
                    found.append((warm, one.job.seconds / level, -turn, -at))
        _, _, turn, at = max(found)
        return -turn, -at

    def _preferred(self, left: Sequence[_Left], loaded: str, passes: float) -> int:
        model, other = _model(loaded), None
        for at, one in enumerate(left[: self._rule.window]):
            if one.job.priority != left[0].job.priority:
                break
            if one.job.lane == loaded:
                return at
            if other is None and model and _model(one.job.lane) == model:
                other = at
            if one.passes + 1 > passes:
                break
        return other or 0


def _model(lane: str) -> str:
    # what has to be loaded of a lane: LoRAs, which follow, are changed in a moment
    return lane.partition("+")[0]
