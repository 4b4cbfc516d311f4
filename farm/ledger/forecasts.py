"""Forecasts of the queues, kept where every gateway reads them: made by housekeeping, never on a request's path."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from farm.jobs.states import Tier
from farm.ledger.connection import mapped
from farm.ledger.scripts import Scripted, tier_line
from farm.scheduling.forecast import Curve, LineForecast, Snapshot, Waiting
from farm.scheduling.prediction import KEPT

#: seconds that a forecast is shown after it was made
KEPT_S = 60


@dataclass(frozen=True)
class Foretold:
    """What was predicted of a job: seconds from at_ms until it starts and ends. started: the start has been judged."""

    job: str
    at_ms: int
    start_s: float
    finish_s: float
    started: bool = False


@dataclass(frozen=True)
class JobTimes:
    """over: it ended, whatever way; finished_ms only where it succeeded."""

    tenant: str
    over: bool
    started_ms: int | None
    finished_ms: int | None


class Forecasts(Scripted):
    def snapshot(self, pool: str) -> tuple[int, Snapshot]:
        """The pool's queues now, and when that was, ms. A paused pool has no slots. Raises Unavailable."""
        told = json.loads(self.run("snapshot", pool))
        tiers = [[Waiting(**one) for one in line["waiting"] or ()] for line in told["lines"]]
        slots = 0 if told["paused"] else int(told["slots"])
        return int(told["at_ms"]), Snapshot(slots, list(told["running"] or ()), int(told["at_work"]), tiers)

    def pools(self) -> list[str]:
        """Every pool that was ever used."""
        with mapped():
            return sorted(cast("set[str]", self._redis.smembers(self._keys("pools"))))

    def keep_forecast(self, pool: str, at_ms: int, snapshot: Snapshot, curves: Sequence[Curve | None]) -> None:
        """In place of the one before. Gone by itself when none is made any more."""
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            for tier, waiting, curve in zip(
                (Tier.URGENT, Tier.NORMAL, Tier.ECONOMY), snapshot.tiers, curves, strict=True
            ):
                key = self._keys("forecast", tier_line(pool, tier))
                pipe.delete(key)
                if curve is None:
                    continue
                rows: dict[Any, Any] = {
                    one.tenant: f"{one.time!r} {one.weight!r} {one.queued_s!r} {one.queued}" for one in waiting
                }
                # '|' is in no tenant's id
                rows["|"] = json.dumps({"at_ms": at_ms, "levels": curve.levels, "seconds": curve.seconds})
                pipe.hset(key, mapping=rows)
                pipe.expire(key, KEPT_S)
            pipe.execute()

    def forecast(self, pool: str, tier: Tier, tenant: str) -> LineForecast | None:
        """The last forecast of the line in which the tenant's jobs of this tier wait; None where there is none."""
        with mapped(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(self._keys("forecast", tier_line(pool, tier)), "|", tenant)
            for what in ("start", "finish"):
                pipe.lrange(self._keys("ratios", pool, what), 0, -1)
            (line, row), starts, finishes = pipe.execute()
        if line is None or row is None:
            return None
        told = json.loads(line)
        time, weight, queued_s, queued = row.split()
        waiting = Waiting(tenant, float(time), float(weight), float(queued_s), int(queued))
        curve = Curve(tuple(told["levels"]), tuple(told["seconds"]))
        return LineForecast(int(told["at_ms"]), curve, waiting, [*map(float, starts)], [*map(float, finishes)])

    # --- predictions that wait for their outcome
    def foretold(self, pool: str) -> list[Foretold]:
        """Predictions of the pool that are still open."""
        with mapped():
            found = cast("dict[str, str]", self._redis.hgetall(self._keys("foretold", pool)))
        return [Foretold(job, **json.loads(text)) for job, text in found.items()]

    def foretell(self, pool: str, one: Foretold) -> None:
        """Keep a prediction until its outcome is known."""
        text = json.dumps(
            {"at_ms": one.at_ms, "start_s": one.start_s, "finish_s": one.finish_s, "started": one.started}
        )
        with mapped():
            self._redis.hset(self._keys("foretold", pool), one.job, text)

    def judged(self, pool: str, job_id: str) -> None:
        """Its outcome is known, or never will be."""
        with mapped():
            self._redis.hdel(self._keys("foretold", pool), job_id)

    def learn_ratio(self, pool: str, what: str, value: float) -> None:
        """An outcome over its prediction; `what` is "start" or "finish"."""
        key = self._keys("ratios", pool, what)
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            pipe.lpush(key, f"{value:.4f}")
            pipe.ltrim(key, 0, KEPT - 1)
            pipe.execute()

    def learn_render(self, pool: str, tenant: str, predicted_s: float, actual_s: float) -> None:
        """A render of the tenant was to take so long, and took so long."""
        key = self._keys("ratios", pool, "render")
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            pipe.lpush(key, f"{tenant} {predicted_s:.2f} {actual_s:.2f}")
            pipe.ltrim(key, 0, KEPT - 1)
            pipe.execute()

    def renders(self, pool: str) -> list[tuple[str, float, float]]:
        """(tenant, predicted, actual seconds) of the last ones that were watched."""
        with mapped():
            found = cast("list[str]", self._redis.lrange(self._keys("ratios", pool, "render"), 0, -1))
        parts = (one.split(" ") for one in found)
        return [(tenant, float(predicted), float(actual)) for tenant, predicted, actual in parts]

    def job_times(self, job_ids: Sequence[str]) -> Mapping[str, JobTimes]:
        """When each of them started and ended."""
        with mapped(), self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hmget(self._keys("job", job_id), "tenant", "state", "started_ms", "finished_ms")
            answers = pipe.execute()
        return {job_id: _times(*answer) for job_id, answer in zip(job_ids, answers, strict=True)}


def _times(tenant: str | None, state: str | None, started: str | None, finished: str | None) -> JobTimes:
    over = state in (None, "succeeded", "failed", "cancelled")
    started_ms = None if started is None else int(started)
    return JobTimes(
        tenant or "", over, started_ms, int(finished) if state == "succeeded" and finished is not None else None
    )
