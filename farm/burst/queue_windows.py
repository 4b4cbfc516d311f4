"""Which part of a long line is looked at: the first jobs; where none of them can be bought, look by look those behind
them; after the last the first again. Otherwise jobs that stay would hide every one that stands behind them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from farm.jobs.job import Job
from farm.jobs.states import Tier


@dataclass(frozen=True)
class QueueWindow:
    """skip: jobs before it; before_s: their predicted GPU-seconds by tier, as they were when they were looked at."""

    skip: int = 0
    before_s: dict[Tier, float] = field(default_factory=dict)


class QueueWindows:
    """`size`: jobs of a tenant in a pool that one look reads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._at: dict[tuple[str, str], QueueWindow] = {}
        self._seen: dict[tuple[str, str], Sequence[Job]] = {}

    def of(self, pool: str, tenant: str) -> QueueWindow:
        """Where to look now."""
        return self._at.get((pool, tenant), QueueWindow())

    def seen(self, pool: str, tenant: str, jobs: Sequence[Job]) -> None:
        """These stood there."""
        self._seen[pool, tenant] = jobs

    def turn(self, bought: set[str]) -> None:
        """A look is over, which bought these."""
        for line, jobs in self._seen.items():
            window = self._at.pop(line, QueueWindow())
            if len(jobs) < self.size or any(job.id in bought for job in jobs):
                continue
            before_s = dict(window.before_s)
            for job in jobs:
                before_s[job.tier] = before_s.get(job.tier, 0.0) + job.predicted_s
            self._at[line] = QueueWindow(window.skip + len(jobs), before_s)
        self._seen.clear()
