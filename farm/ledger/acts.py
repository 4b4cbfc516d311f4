"""Acts on many jobs of a batch, step by step: each step is one short script that also keeps how far the act is, so that
a process that dies in between leaves it to the next."""

from collections.abc import Sequence
from typing import cast

from farm.jobs.batch import Act, ActKind, ActState, Choice
from farm.jobs.ids import new_job_id
from farm.ledger.connection import mapped
from farm.ledger.outcomes import Permit
from farm.ledger.refusals import too_many_acts
from farm.ledger.scripts import ACTS_KEPT, Scripted
from farm.ledger.workforce import permits

#: records of jobs, of their parents and of their children that one step reads: a retry takes Redis 0.2 ms for each
STEP = 50
#: acts of a batch that are shown
_SHOWN = 20
#: the answer of lua/act_begin.lua when no other act may begin
_TOO_MANY = 2


class Acts(Scripted):
    """Every call may be repeated. Raises Unavailable."""

    def begin_act(
        self,
        act_id: str,
        tenant: str,
        batch_id: str,
        kind: ActKind,
        choice: Choice | None = None,
        *,
        priority: int | None = None,
    ) -> bool:
        """There is something to do from now on. False: no such batch of the tenant. Raises TooMany while ACTS_KEPT acts
        on this batch are under way."""
        chosen = choice or Choice()
        arguments = (chosen.label or "", chosen.error_code or "", chosen.state or "")
        shown = "" if priority is None else priority
        answer = self.run("act_begin", act_id, tenant, batch_id, kind, shown, *arguments, durable=True)
        if answer == _TOO_MANY:
            raise too_many_acts(ACTS_KEPT)
        return bool(answer)

    def step_act(self, act_id: str) -> tuple[bool, list[Permit]]:
        """Do the act to some more of its jobs, in one short script. (whether there is more to do, permits to
        publish)"""
        more, wanted = self.run("act_step", act_id, STEP, *(new_job_id() for _ in range(STEP)), durable=True)
        return bool(more), permits(wanted)

    def acts_open(self, limit: int = 100) -> list[str]:
        """Ids of acts that are under way; first those that nobody worked on for longest."""
        with mapped():
            return cast("list[str]", self._redis.zrange(self._keys("acts_open"), 0, limit - 1))

    def acts(self, batch_ids: Sequence[str]) -> list[list[Act]]:
        """The latest acts of each batch, newest first."""
        with mapped(), self._redis.pipeline(transaction=False) as pipe:
            for one in batch_ids:
                pipe.lrange(self._keys("batch_acts", one), 0, _SHOWN - 1)
            ids = cast("list[list[str]]", pipe.execute())
            for act_id in (act_id for some in ids for act_id in some):
                pipe.hgetall(self._keys("act", act_id))
            records = iter(cast("list[dict[str, str]]", pipe.execute()))
        return [[_act(act_id, record) for act_id in some if (record := next(records))] for some in ids]


def _act(act_id: str, record: dict[str, str]) -> Act:
    return Act(
        id=act_id,
        batch=record["batch"],
        kind=ActKind(record["kind"]),
        over=record["state"] == ActState.ENDED,
        looked=int(record["looked"]),
        changed=int(record["changed"]),
        error=record.get("error") or None,
        created_ms=int(record["created_ms"]),
        ended_ms=int(record["ended_ms"]) if "ended_ms" in record else None,
    )
