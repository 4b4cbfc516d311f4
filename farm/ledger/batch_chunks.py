"""Jobs of a batch as they are staged: what many of them have in common is written once (lua/batch_place.lua)."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from farm.jobs.job import NewJob
from farm.jobs.states import HoldReason
from farm.ledger.records import admission, body_json


class Kind:
    """A job without what is its own. `like` is any of them."""

    def __init__(self, like: NewJob) -> None:
        self.like = like
        self.fields = [f"{value}" for value in admission(like)]
        self.fields[0] = self.fields[-1] = ""
        self._body = body_json(like)

    def body(self, spec: Mapping[str, Any], more: Mapping[str, Any]) -> str:
        """The body of one job: `spec` are the fields of its JobSpec that are its own, `more` those of NewJob."""
        body: dict[str, Any] = {**self._body, "spec": {**self._body["spec"], **spec}, **more}
        return to_json(body).decode()


class ChunkWriter:
    """Collects jobs until `take`."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._kinds: dict[int, int] = {}
        self._fields: list[list[str]] = []
        self._jobs: list[list[Any]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def add(
        self,
        kind: Kind,
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
        self._jobs.append([job_id, number, body, " ".join(parents), "run" if orphan_runs else "", held_for or ""])

    def take(self) -> str:
        """The chunk; the writer is empty again."""
        chunk = to_json([self._fields, self._jobs]).decode()
        self._clear()
        return chunk
