"""A batch between its check and its admission: every job that it will have, in a nameless file. So a manifest of any
size takes little memory, and nothing of it is left behind however the process ends."""

import marshal
import tempfile
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from farm.ledger.batch_chunks import JobKind

#: kinds that are remembered: those of a manifest whose lines have little in common are written again and again
KINDS = 500
#: entries that are written at once
_BLOCK = 500


@dataclass(slots=True)
class PlannedJob:
    """`spec` and `more` are what is its own of its JobSpec and of its NewJob; `take` counts from 0."""

    kind: JobKind
    id: str
    line: int
    take: int
    spec: dict[str, Any]
    more: dict[str, Any]
    orphan_runs: bool


class PlanFile:
    """Written job by job, then read. Close it. `gpu_s_in`: predicted GPU-seconds in each pool."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="wanfarm-batch-")  # noqa: SIM115 - `close` does
        self._kinds: OrderedDict[bytes, tuple[int, JobKind]] = OrderedDict()
        self._block: list[tuple[Any, ...]] = []
        self._count = 0
        self.jobs, self.hold, self.gpu_s, self.priced = 0, 0, 0.0, True
        self.gpu_s_in = defaultdict[str, float](float)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def kind(self, mark: bytes) -> tuple[int, JobKind] | None:
        """The kind of an earlier line with this mark; None where there was none, or it was forgotten."""
        return self._kinds.get(mark)

    def add_kind(self, mark: bytes, kind: JobKind) -> tuple[int, JobKind]:
        """Write a kind and remember it under `mark`. Of more than KINDS the oldest is forgotten."""
        self._count += 1
        found = self._kinds[mark] = self._count, kind
        if len(self._kinds) > KINDS:
            self._kinds.popitem(last=False)
        self._put((self._count, *kind.plain))
        return found

    def add(
        self,
        kind: tuple[int, JobKind],
        job_id: str,
        *,
        line: int,
        take: int,
        spec: dict[str, Any],
        more: dict[str, Any],
        orphan_runs: bool = False,
    ) -> None:
        """One more job, of a kind that kind() or add_kind() gave just now."""
        number, about = kind
        self._put((number, job_id, line, take, spec, more, orphan_runs))
        self.jobs += 1
        self.gpu_s += about.predicted_s
        self.gpu_s_in[about.pool] += about.predicted_s
        if about.hold is None:
            self.priced = False
        else:
            self.hold += about.hold

    def _put(self, entry: tuple[Any, ...]) -> None:
        self._block.append(entry)
        if len(self._block) == _BLOCK:
            self._flush()

    def _flush(self) -> None:
        block = marshal.dumps(self._block)
        self._file.write(len(block).to_bytes(8) + block)
        self._block.clear()

    def _entries(self) -> Iterator[tuple[Any, ...]]:
        self._flush()
        self._file.seek(0)
        while size := self._file.read(8):
            yield from marshal.loads(self._file.read(int.from_bytes(size)))  # noqa: S302 - nobody else writes here

    def __iter__(self) -> Iterator[PlannedJob]:
        kinds: OrderedDict[int, JobKind] = OrderedDict()
        for entry in self._entries():
            if len(entry) == 7:
                number, job_id, line, take, spec, more, orphan_runs = entry
                yield PlannedJob(kinds[number], job_id, line, take, spec, more, orphan_runs)
            else:
                number, fields, body = entry
                kinds[number] = JobKind(fields, body)
                if len(kinds) > KINDS:
                    kinds.popitem(last=False)
