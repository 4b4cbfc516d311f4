"""What is wrong with a manifest: every line, field and remedy, as far as somebody will read it."""

from dataclasses import dataclass, field

from farm.jobs.errors import InvalidRequest

#: faults that an answer tells; the rest are counted
MAX_TOLD = 100


@dataclass(frozen=True)
class LineFault:
    """`line` counts from 1 in the file as it was sent; None is the whole of it."""

    line: int | None
    field: str | None
    detail: str
    code: str = "invalid_request"

    def __str__(self) -> str:
        where = [] if self.line is None else [f"line {self.line}"]
        return ": ".join([*where, *([self.field] if self.field else []), self.detail])


class BadManifest(InvalidRequest):
    """Nothing of it was admitted. `faults` are the first of `count`."""

    slug = "bad-manifest"

    def __init__(self, faults: "list[LineFault]", count: int) -> None:
        more = f" (and {count - 1} more)" if count > 1 else ""
        super().__init__(f"{faults[0]}{more}; nothing was admitted", faults[0].field)
        self.faults, self.count = faults, count


@dataclass
class ManifestFaults:
    """Collects the faults of a manifest, and counts those that are too many to tell."""

    first: list[LineFault] = field(default_factory=list)
    count: int = 0

    def add(self, line: int | None, name: str | None, detail: str, code: str = "invalid_request") -> None:
        """Note a fault: its line (None: of the whole manifest), field and remedy."""
        self.count += 1
        if len(self.first) < MAX_TOLD:
            self.first.append(LineFault(line, name, detail[:500], code))

    def check(self) -> None:
        """Raises BadManifest when a fault was noted."""
        if self.count:
            raise BadManifest(self.first, self.count)
