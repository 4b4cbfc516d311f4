"""What the burst processes tell each other and whoever asks: whose turn it is, what was decided about a job and why."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Decision:
    """What was decided about buying a job. `tenant`: None once the job is forgotten."""

    id: str
    at_ms: int
    job: str
    tenant: str | None
    told: Mapping[str, Any]


class BurstNotes(Reading):
    """Every call raises Unavailable."""

    def my_turn(self, what: str, worker: str, seconds: float) -> Turn:
        """Whether this worker is the one that does `what` for all of them, for so many seconds from now."""
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

    def decisions(self, *, before: str | None = None, limit: int = 100) -> Sequence[Decision]:
        """Decisions about all jobs, the newest first. `before`: the id of the last one seen."""
        with mapped():
            last = f"({before}" if before else "+"
            found = cast("list[Any]", self._redis.xrevrange(self._keys("decisions"), max=last, count=limit))
        jobs = self.find_many([fields["job"] for _, fields in found])
        return [
            Decision(
                at, int(at.partition("-")[0]), fields["job"], job.tenant if job else None, json.loads(fields["data"])
            )
            for (at, fields), job in zip(found, jobs, strict=True)
        ]
