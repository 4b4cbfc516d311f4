"""Jobs of a batch as they are staged: what many of them have in common is written once (lua/batch_place.lua)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic_core import to_json

from farm.jobs.job import NewJob
from farm.jobs.states import HoldReason
from farm.ledger.records import admission, body_json

#: what a parent costs, in jobs
_PARENT_WEIGHT = 0.25


class JobKind:
    """A job without what is its own: the fields of lua/lib/create.lua, and its body."""

    def __init__(self, fields: list[str], body: dict[str, Any]) -> None:
        self.fields, self._body = fields, body
        self.pool = fields[3]
        self.predicted_s = float(fields[7])
        self.hold = int(fields[9]) if fields[9] else None

    @classmethod
    def of(cls, like: NewJob) -> Self:
        """The kind of a job like this one: its id and its body are left out."""
        fields = [f"{value}" for value in admission(like)]
        fields[0] = fields[-1] = ""
        body: dict[str, Any] = json.loads(json.dumps(body_json(like)))
        return cls(fields, body)

    @property
    def plain(self) -> tuple[list[str], dict[str, Any]]:
        """The fields and the body that it was made from, so that it can be written to a file and read again."""
        return self.fields, self._body

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Inputs of its spec, by role."""
        found: Mapping[str, Any] = self._body["spec"].get("inputs", {})
        return found

    @property
    def dialect_data(self) -> Mapping[str, Any]:
        """What its dialect keeps of each of its jobs."""
        found: Mapping[str, Any] = self._body.get("dialect_data", {})
        return found

    def body(self, spec: Mapping[str, Any], more: Mapping[str, Any]) -> str:
        """The body of one job: `spec` are the fields of its JobSpec that are its own, `more` those of NewJob."""
        body: dict[str, Any] = {**self._body, "spec": {**self._body["spec"], **spec}, **more}
        return to_json(body).decode()


class ChunkWriter:
    """Collects jobs, and gives them as one chunk."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._kinds: dict[int, int] = {}
        self._fields: list[list[str]] = []
        self._jobs: list[list[Any]] = []
        self._parents = 0

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def weight(self) -> float:
        """What it costs Redis to place the chunk, in jobs without parents."""
        return len(self._jobs) + _PARENT_WEIGHT * self._parents

    def add(
        self,
        kind: JobKind,
        job_id: str,
        body: str,
        *,
        parents: Sequence[str] = (),
        orphan_runs: bool = False,
        held_for: HoldReason | None = None,
    ) -> None:
        """`parents`: jobs to follow; it runs all the same when one of them fails, if `orphan_runs`, else it fails."""
        number = self._kinds.get(id(kind))
        if number is None:
            self._fields.append(kind.fields)
            number = self._kinds[id(kind)] = len(self._fields)
        self._parents += len(parents)
        self._jobs.append([job_id, number, body, " ".join(parents), "run" if orphan_runs else "", held_for or ""])

    def take(self) -> str:
        """The chunk as JSON. The writer is empty after it."""
        chunk = to_json([self._fields, self._jobs]).decode()
        self._clear()
        return chunk
