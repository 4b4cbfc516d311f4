"""What an operator may do to the queues. Every act is a line of a log that only grows, in the write that does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis.client import Pipeline

from farm.jobs.states import Tier
from farm.jobs.worker_status import WorkerState
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys
from farm.ledger.outcomes import OperationOutcome, OperatorAct, Permit, SwitchKind
from farm.ledger.scripts import Scripted
from farm.ledger.workforce import FORGIVEN_S, permits


@dataclass(frozen=True)
class Actor:
    """Who does something that the log keeps, and why, where they were asked."""

    who: str
    why: str = ""


def add_operation(
    pipe: Pipeline, keys: Keys, by: Actor, *, at_ms: int, act: str, target: str, before: str = "", after: str = ""
) -> None:
    """A line of the log, in the transaction that does the act: for what no script of the ledger writes."""
    line = {"who": by.who, "why": by.why, "act": act, "target": target, "before": before, "after": after}
    pipe.xadd(keys("operations"), {"at_ms": at_ms, **line})  # type: ignore[dict-item]


class Operations(Scripted):
    """`who` did it, and `why`: both are kept as they are told."""

    def pause(self, kind: SwitchKind, name: str, *, who: str, why: str) -> bool:
        """Nothing of the tenant, pool or lane (or model: all its lanes), or on the worker, starts any more, and what
        runs goes on. False where it was paused already."""
        return bool(self.run("switch", kind, name, 1, who, why, durable=True)[0])

    def resume(self, kind: SwitchKind, name: str, *, who: str, why: str) -> tuple[bool, list[Permit]]:
        """End a pause. False where there was none."""
        changed, wanted = self.run("switch", kind, name, 0, who, why, durable=True)
        return bool(changed), permits(wanted)

    def paused(self) -> dict[tuple[SwitchKind, str], int]:
        """(kind, name) of what an operator paused -> since when, ms since the epoch. Raises Unavailable."""
        with mapped():
            found = cast("dict[str, str]", self._redis.hgetall(self._keys("switches")))
        pairs = ((field.partition(" "), since) for field, since in sorted(found.items()))
        return {(SwitchKind(kind), name): int(since) for (kind, _, name), since in pairs}

    def set_tier(self, job_id: str, tier: Tier, *, who: str, why: str) -> tuple[OperationOutcome, list[Permit]]:
        """Move a job to this tier: urgent, or back to normal. A running job is not moved (RUNNING)."""
        if tier is Tier.ECONOMY:
            raise ValueError("a job is not moved to economy: it has no completion window")
        outcome, wanted = self.run("set_tier", job_id, tier, who, why, durable=True)
        return OperationOutcome(outcome), permits(wanted)

    def requeue(self, job_id: str, *, who: str, why: str) -> tuple[OperationOutcome, list[Permit]]:
        """Queue a job now: a running one is taken back from its worker, and the attempt does not count; the backoff of
        one that waits for a retry ends. A bought job (BOUGHT) and a held one (HELD) are not queued."""
        outcome, wanted = self.run("requeue", job_id, who, why, durable=True)
        return OperationOutcome(outcome), permits(wanted)

    def move(self, job_id: str, pool: str, *, who: str, why: str) -> tuple[OperationOutcome, list[Permit]]:
        """Move a job to another pool; it keeps its priority and its deadline there. A running job is not moved
        (RUNNING). Whether the pool's workers offer its model and hold its shape is for the operator to know."""
        outcome, wanted = self.run("move", job_id, pool, who, why, durable=True)
        return OperationOutcome(outcome), permits(wanted)

    def end_failed(self, job_id: str, *, who: str, why: str) -> tuple[OperationOutcome, list[Permit]]:
        """End a job as failed, unbilled. If it runs, its worker hears that at its next heartbeat. A bought job is not
        ended (BOUGHT)."""
        outcome, wanted = self.run("end_failed", job_id, who, why, durable=True)
        return OperationOutcome(outcome), permits(wanted)

    def forgive(self, worker: str, by: Actor) -> None:
        """Lift the quarantine of `worker`; said for FORGIVEN_S, for it to hear."""
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            at_ms = int(self.run("now"))
            pipe.set(self._keys("forgiven", worker), 1, ex=FORGIVEN_S)
            line = {"act": "forgive", "target": f"worker {worker}", "before": WorkerState.QUARANTINED, "after": "on"}
            add_operation(pipe, self._keys, by, at_ms=at_ms, **line)
            pipe.execute()

    def note(self, by: Actor, act: str, target: str, *, before: str = "", after: str = "") -> None:
        """Log an act that is done elsewhere, outside of Redis."""
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            at_ms = int(self.run("now"))
            add_operation(pipe, self._keys, by, at_ms=at_ms, act=act, target=target, before=before, after=after)
            pipe.execute()

    def operations(self, *, before: str | None = None, limit: int = 50) -> Sequence[OperatorAct]:
        """The log, the newest line first. `before`: the id of the last line seen."""
        with mapped():
            entries = self._redis.xrevrange(self._keys("operations"), max=f"({before}" if before else "+", count=limit)
        return [
            OperatorAct(
                line,
                int(fields["at_ms"]),
                *(fields[name] for name in ("who", "why", "act", "target", "before", "after")),
            )
            for line, fields in cast("list[tuple[str, dict[str, str]]]", entries)
        ]
