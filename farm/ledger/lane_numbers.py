"""Lanes in numbers: how many of a lane's jobs end in an hour, how long one takes, and since when the oldest waits."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from farm.jobs.states import Tier
from farm.ledger.connection import mapped
from farm.ledger.scripts import Scripted, tier_line


@dataclass
class LaneNumbers:
    """A lane in a pool.

    done, failed  jobs that ended since LanesNow.since_ms
    seconds       that the done ones took together, from their last start to their end
    queued        of the jobs that were looked at
    running       of the leases that were looked at
    oldest_ms     since when the oldest queued one waits, ms since the epoch; None: none waits
    """

    pool: str
    lane: str
    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    oldest_ms: int | None = None

    @property
    def mean_s(self) -> float | None:
        """Seconds from start to end of one that was done; None where none was."""
        return self.seconds / self.done if self.done else None


@dataclass(frozen=True)
class LanesNow:
    """`whole`: every queued job was looked at, not the first of each queue alone. Times are ms since the epoch."""

    now_ms: int
    since_ms: int
    whole: bool
    lanes: Sequence[LaneNumbers]

    def per_hour(self, one: LaneNumbers) -> float:
        """Jobs of the lane that are done in an hour, at the pace of what was looked at."""
        return one.done * 3_600_000 / max(1, self.now_ms - self.since_ms)


class LaneReading(Scripted):
    """Raises Unavailable."""

    def lanes(self) -> LanesNow:
        """Every lane that has jobs which wait, run, or ended within an hour, read line by line in short calls. It
        costs the same for any number of jobs."""
        ended: dict[str, Any] = json.loads(self.run("lanes_ended"))
        # Lua writes its empty table as an object
        found = {(one["pool"], one["lane"]): LaneNumbers(**one) for one in ended["lanes"] or ()}
        whole = True

        def of(pool: str, lane: str) -> LaneNumbers:
            return found.setdefault((pool, lane), LaneNumbers(pool, lane))

        with mapped():
            pools = cast("set[str]", self._redis.smembers(self._keys("pools")))
        for pool in sorted(pools):
            for tier in Tier:
                all_of_it, *queued = self.run("lanes_queued", tier_line(pool, tier))
                whole = whole and bool(all_of_it)
                for lane, count, since_ms in zip(queued[::3], queued[1::3], queued[2::3], strict=True):
                    one = of(pool, lane)
                    one.queued += count
                    one.oldest_ms = since_ms if one.oldest_ms is None else min(one.oldest_ms, since_ms)
            running = self.run("lanes_running", pool)
            for lane, count in zip(running[::2], running[1::2], strict=True):
                of(pool, lane).running += count
        return LanesNow(ended["now_ms"], ended["since_ms"], whole, tuple(found.values()))
