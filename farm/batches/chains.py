"""Which shots of a manifest follow which. Checks that every name is known and that no shot waits for itself. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from farm.batches.faults import ManifestFaults
from farm.wire.own_batches import LAST_FRAME

#: shots of a circle that a fault names
_SHOWN = 8
#: jobs that one job may follow: every end of one of them asks for the others
MAX_PARENT_JOBS = 64


@dataclass
class ChainShot:
    """What of a line others may name. `after` and `start_from` are ids of shots."""

    line: int
    jobs: Sequence[str]
    after: Sequence[str] = ()
    start_from: str | None = None

    @property
    def parents(self) -> Iterator[str]:
        """Ids of the shots that have to end before this one starts."""
        yield from self.after
        if self.start_from is not None:
            yield self.start_from


@dataclass
class Chains:
    """Only shots with an id, or with parents, are kept: a manifest without chains costs nothing."""

    named: dict[str, ChainShot] = field(default_factory=dict)
    children: dict[int, ChainShot] = field(default_factory=dict)
    #: ids of lines that have faults of their own
    faulty: set[str] = field(default_factory=set)

    def add(self, shot: ChainShot, name: str | None, faults: ManifestFaults) -> None:
        """Keep a line that has no fault of its own. `name`: its id, where it has one; a second line of that id is a
        fault."""
        if name is not None:
            first = self.named.setdefault(name, shot)
            if first is not shot:
                faults.add(shot.line, "id", f"line {first.line} has the same id; give each shot its own")
        if shot.after or shot.start_from is not None:
            self.children[shot.line] = shot

    def refused(self, name: Any) -> None:
        """A line that has faults, with its id, where it has one: that other lines follow it is no fault of theirs."""
        if isinstance(name, str):
            self.faulty.add(name)

    def check(self, faults: ManifestFaults) -> None:
        """Note unknown names, shots that cannot be followed take by take, and circles."""
        for shot in self.children.values():
            first = [] if shot.start_from is None else [shot.start_from]
            for column, names in (("after", shot.after), ("start_from", first)):
                for name in names:
                    if name not in self.named and name not in self.faulty:
                        faults.add(shot.line, column, f"no shot here has the id {name[:64]!r}{_form(column, name)}")
            jobs = sum(len(self.named[name].jobs) for name in shot.after if name in self.named)
            if jobs > MAX_PARENT_JOBS:
                faults.add(shot.line, "after", f"these are {jobs} jobs with their takes; at most {MAX_PARENT_JOBS}")
            parent = None if shot.start_from is None else self.named.get(shot.start_from)
            if parent is not None and len(parent.jobs) not in (1, len(shot.jobs)):
                detail = f"{shot.start_from} has {len(parent.jobs)} takes: give this shot as many, or that one just one"
                faults.add(shot.line, "start_from", detail)
        if not faults.count:
            self._check_circles(faults)

    def parents_of(self, line: int, take: int) -> tuple[list[str], str | None]:
        """(ids of all jobs to follow, the one whose last frame is the first) of a take, counted from 0."""
        shot = self.children.get(line)
        if shot is None:
            return [], None
        jobs = [job for name in shot.after for job in self.named[name].jobs]
        first = None
        if shot.start_from is not None:
            found = self.named[shot.start_from].jobs
            first = found[take if len(found) > 1 else 0]
            jobs.append(first)
        return list(dict.fromkeys(jobs)), first

    def _check_circles(self, faults: ManifestFaults) -> None:
        over: set[int] = set()
        for start in self.children.values():
            if start.line in over:
                continue
            path: dict[int, Iterator[str]] = {start.line: start.parents}
            while path:
                line, parents = next(reversed(path.items()))
                name = next(parents, None)
                if name is None:
                    over.add(line)
                    del path[line]
                    continue
                parent = self.named[name]
                if parent.line in path:
                    lines = list(path)
                    self._tell(lines[lines.index(parent.line) :], faults)
                    over.update(path)
                    break
                if parent.line not in over and parent.line in self.children:
                    path[parent.line] = parent.parents

    def _tell(self, lines: Sequence[int], faults: ManifestFaults) -> None:
        shown = [str(line) for line in lines[:_SHOWN]] + (["..."] if len(lines) > _SHOWN else [])
        faults.add(
            lines[0], "after", f"waits for itself: lines {' -> '.join([*shown, str(lines[0])])}; leave one of them out"
        )


def _form(column: str, name: str) -> str:
    """What to do about a shot that is not known: some write more than an id, some give a name and no id."""
    if column == "start_from" and (" " in name or not name):
        return f'; write "{LAST_FRAME}ID"'
    return "; others know a shot by its `id`, not by its `name`: give one to the shot that comes first"
