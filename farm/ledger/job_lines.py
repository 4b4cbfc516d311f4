"""What workers logged of a job for its owner: a few lines of each attempt, kept as long as the job."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from farm.jobs.job import Fence
from farm.ledger.connection import mapped
from farm.ledger.scripts import Scripted

#: lines of a job that are kept, the newest; characters of one
_LINES_MOST, _CHARS_MOST = 100, 300


@dataclass(frozen=True)
class JobLine:
    """`at_ms`: by the worker's clock. `bad`: it was a warning or worse."""

    at_ms: int
    text: str
    bad: bool = False


class JobLines(Scripted):
    """Lines that workers log of a job."""

    def keep_lines(self, job_id: str, attempt: int, lines: Sequence[JobLine]) -> bool:
        """Add lines of an attempt to those of its job. False where another attempt has followed it, or the job is gone.
        Raises Unavailable."""
        told = [json.dumps([one.at_ms, one.text[:_CHARS_MOST], int(one.bad)]) for one in lines]
        return not told or bool(self.run("job_lines", job_id, Fence.text(attempt), _LINES_MOST, *told))

    def lines_of(self, job_id: str) -> list[JobLine]:
        """What was kept of the job's attempts, the oldest line first. Raises Unavailable."""
        with mapped():
            told = cast("list[str]", self._redis.lrange(self._keys("lines", job_id), 0, -1))
        return [JobLine(at_ms, text, bool(bad)) for at_ms, text, bad in map(json.loads, told)]
