"""What the burst processes tell each other and whoever asks: whose turn it is, what was decided about a job and why."""

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, cast

from farm.jobs.job import Job
from farm.jobs.states import State
from farm.ledger.connection import mapped
from farm.ledger.reading import Reading

#: decisions that are kept, about; and how long the last one about a job is found by its id
_DECISIONS_KEPT, _DECISION_S = 20_000, 7 * 86_400


class Turn(IntEnum):
    """BEGUN: this worker's from now on, another may have had it until now."""

    NOT_MINE = 0
    KEPT = 1
    BEGUN = 2


class BurstNotes(Reading):
    def my_turn(self, what: str, worker: str, seconds: float) -> Turn:
        """Whether this worker is the one that does `what` for all, for so long from now."""
        return Turn(self.run("turn", what, worker, seconds))

    def queued_first(self, pool: str, tenant: str, limit: int, skip: int = 0) -> list[Job]:
        """The tenant's queued jobs of a pool, in the order in which they are served, without the first `skip`."""
        ids = self.run("queued_first", pool, tenant, limit, skip)
        return [job for job in self.find_many(ids) if job is not None and job.state is State.QUEUED]

    def note_decision(self, job_id: str, decision: Mapping[str, Any]) -> None:
        """Keep what was decided about a job; the last one is found by its id."""
        text = json.dumps(dict(decision), separators=(",", ":"))
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            pipe.set(self._keys("decision", job_id), text, ex=_DECISION_S)
            pipe.xadd(self._keys("decisions"), {"job": job_id, "data": text}, maxlen=_DECISIONS_KEPT, approximate=True)
            pipe.execute()

    def decision(self, job_id: str) -> Mapping[str, Any] | None:
        """What was decided about a job last; None where nothing was."""
        with mapped():
            text = self._redis.get(self._keys("decision", job_id))
        return dict(json.loads(text)) if isinstance(text, str) else None

    def decisions(self, count: int = 100) -> list[tuple[int, str, Mapping[str, Any]]]:
        """(when, ms; job; decision), the newest first."""
        with mapped():
            found = cast("list[Any]", self._redis.xrevrange(self._keys("decisions"), count=count))
        return [(int(at.partition("-")[0]), fields["job"], json.loads(fields["data"])) for at, fields in found]
