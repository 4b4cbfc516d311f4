"""Workers that are live, and the permits that wake them."""

import json
from collections.abc import Sequence
from typing import Any

from farm.ledger.outcomes import Permit
from farm.ledger.scripts import Scripted


def permits(flat: Sequence[str]) -> list[Permit]:
    """From a script's {permit, pool, ...}."""
    return [Permit(permit_id, pool) for permit_id, pool in zip(flat[::2], flat[1::2], strict=True)]


class Workforce(Scripted):
    def permits_wanted(self, pool: str) -> list[Permit]:
        """Reserve as many permits as there are claimable jobs and workers not yet woken."""
        return permits(self.run("permits", pool))

    def claimable(self, pool: str, *, most: int = 1) -> int:
        """Jobs of the pool that could be claimed now, counted no further than `most`."""
        return int(self.run("claimable", pool, most))

    def worker_seen(self, worker: str, pool: str, facts: dict[str, Any], *, ttl_s: float, slots: int = 1) -> None:
        """Keep `worker` among the pool's live workers for `ttl_s`; `facts` is shown to operators (device, lane,
        state, job, models). `slots`: jobs that it takes at once; 0 for one that shall be seen and not be woken."""
        self.run("worker_seen", worker, pool, json.dumps(facts), int(ttl_s * 1000), slots)

    def worker_gone(self, worker: str, pool: str) -> None:
        self.run("worker_gone", worker, pool)

    def workers(self) -> list[dict[str, Any]]:
        """The facts of every live worker, with `worker`, `pool` and `live_until_ms`."""
        answers = self.run("workers")
        return sorted(
            (
                json.loads(facts or "{}") | {"worker": worker, "pool": pool, "live_until_ms": int(float(until))}
                for worker, pool, until, facts in answers
            ),
            key=lambda worker: (worker["pool"], worker["worker"]),
        )
