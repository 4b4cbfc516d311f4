"""Forecasts of the queues, kept where every gateway reads them: made by housekeeping, never on a request's path."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any, cast

from farm.jobs.states import Tier
from farm.ledger.connection import mapped
from farm.ledger.scripts import Scripted, tier_line
from farm.scheduling.claims_ahead import LAST_MOST, FrontJob, OrderRule
from farm.scheduling.forecast import Curve, Expected, LineForecast, Snapshot, Waiting
from farm.scheduling.own_order import Turns
from farm.scheduling.pace import Pace, Paces, RenderSums, RunningRender
from farm.scheduling.prediction import KEPT
from farm.scheduling.progress import LineProgress

#: jobs at the heads of queues that are looked at in one call, in all, and of one tenant at least
_LOOKED, _FRONTS, _FRONT_LEAST = 500, 2000, 32
#: seconds that a forecast is shown after it was made
KEPT_S = 60


@dataclass(frozen=True)
class Foretold:
    """What was predicted of a tenant's job in the tier, at_ms. seen_ms, left_s: when it was last looked at, and what
    the curve said then; unit: what a predicted second took then. started: the start has been judged."""

    job: str
    tenant: str
    tier: Tier
    at_ms: int
    told: Expected
    seen_ms: int
    left_s: float
    unit: float
    started: bool = False


@dataclass(frozen=True)
class JobTimes:
    """What became of a job. over: it has ended in any state; finished_ms: only where it succeeded; rank: its place in
    its tenant's queue. Times are ms since the epoch."""

    over: bool
    started_ms: int | None
    finished_ms: int | None
    rank: int | None
    lane: str = ""


class Forecasts(Scripted):
    """Every call raises Unavailable."""

    def snapshot(self, pool: str) -> tuple[int, Snapshot]:
        """The pool's queues now, and the time of that, ms since the epoch. A paused pool has no slots, nor has a
        locked worker. Each line is read by itself, so that no call takes long: a job that moves meanwhile may be in two
        lines or in none. Raises Unavailable."""
        told = json.loads(self.run("snapshot", pool))
        at_ms = int(told["at_ms"])
        lines = (str(self.run("waiting", tier_line(pool, tier))) for tier in Tier)
        tiers = [[_waiting(row) for row in line.splitlines()] for line in lines]
        slots = 0 if told["paused"] else int(told["slots"])
        attempts = [_running(row, at_ms) for row in told["running"].splitlines()]
        running = [max(0.0, one.predicted_s - one.run_s) for one in attempts]
        return at_ms, Snapshot(slots, running, int(told["at_work"]), tiers, attempts)

    @property
    def order_rule(self) -> OrderRule:
        """The settings of the claim rule, for a simulation of it."""
        scheduling = self._settings.scheduling
        window, passes = max(1, scheduling.affinity_window), scheduling.affinity_passes
        return OrderRule(window, passes, slack_s=scheduling.affinity_slack_s)

    def fronts(self, pool: str, snapshot: Snapshot) -> dict[tuple[str, str], list[FrontJob]]:
        """(tier, tenant) -> the first jobs of its queue, of the tenants that are served next. Each call to Redis looks
        at _LOOKED jobs at most, and all of a tier together at _FRONTS. Raises Unavailable."""
        found: dict[tuple[str, str], list[FrontJob]] = {}
        for tier, line in zip(Tier, snapshot.tiers, strict=True):
            # the order of one job alone matters where all of the line are followed
            least = 1 if sum(one.queued for one in line) <= LAST_MOST else 2
            names = [one.tenant for one in line if one.queued >= least][: _FRONTS // _FRONT_LEAST]
            each = max(_FRONT_LEAST, min(_LOOKED, _FRONTS // max(1, len(names))))
            at_once = _LOOKED // each
            for at in range(0, len(names), at_once):
                told = json.loads(self.run("fronts", tier_line(pool, tier), each, *names[at : at + at_once]))
                for name, jobs in zip(names[at:], told, strict=False):
                    found[tier, name] = [_front_job(*job) for job in jobs]
        return found

    def pools(self) -> list[str]:
        """Every pool that was ever used."""
        with mapped():
            return sorted(cast("set[str]", self._redis.smembers(self._keys("pools"))))

    def keep_forecast(
        self, pool: str, at_ms: int, snapshot: Snapshot, curves: Sequence[Curve | None], paces: Paces
    ) -> None:
        """Keep the forecast of a pool, in place of the one before. It expires when no other one follows. Raises
        Unavailable."""
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            for tier, waiting, curve in zip(Tier, snapshot.tiers, curves, strict=True):
                key = self._keys("forecast", tier_line(pool, tier))
                pipe.delete(key)
                if curve is None:
                    continue
                rows: dict[Any, Any] = {one.tenant: _row(one, paces.of(one.tenant)) for one in waiting}
                rows |= {f"{one.tenant}|": json.dumps(asdict(one.turns)) for one in waiting if one.turns.plain}
                # '|' is in no tenant's id
                rows["|"] = json.dumps({"at_ms": at_ms, **asdict(curve)})
                pipe.hset(key, mapping=rows)
                pipe.expire(key, KEPT_S)
            pipe.execute()

    def forecast(self, pool: str, tier: Tier, tenant: str) -> LineForecast | None:
        """The last forecast of the line in which the tenant's jobs of this tier wait; None where there is none."""
        line = tier_line(pool, tier)
        with mapped(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(self._keys("forecast", line), "|", tenant, f"{tenant}|")
            for what in ("start", "finish"):
                pipe.lrange(self._keys("scores", line, what), 0, -1)
            (told, row, turns), starts, finishes = pipe.execute()
        if told is None or row is None:
            return None
        curve = json.loads(told)
        at_ms = int(curve.pop("at_ms"))
        time, weight, queued_s, queued, *pace = map(float, row.split())
        known = _turns(json.loads(turns)) if turns else Turns()
        waiting = Waiting(tenant, time, weight, queued_s, int(queued), turns=known)
        return LineForecast(at_ms, Curve(**curve), waiting, Pace(*pace), [*map(float, starts)], [*map(float, finishes)])

    # --- predictions that wait for their outcome
    def foretold(self, pool: str) -> list[Foretold]:
        """Predictions for jobs of the pool whose outcomes are not known yet. Raises Unavailable."""
        with mapped():
            found = cast("dict[str, str]", self._redis.hgetall(self._keys("foretold", pool)))
        return [_foretold(text) for text in found.values()]

    def foretell(self, pool: str, told: Iterable[Foretold]) -> None:
        """Keep predictions until their outcomes are known. Raises Unavailable."""
        rows: dict[Any, Any] = {one.job: json.dumps(asdict(one)) for one in told}
        if rows:
            with mapped():
                self._redis.hset(self._keys("foretold", pool), mapping=rows)

    def judged(self, pool: str, job_id: str) -> None:
        """Remove a prediction: its outcome is known, or never will be. Raises Unavailable."""
        with mapped():
            self._redis.hdel(self._keys("foretold", pool), job_id)

    def learn_score(self, pool: str, tier: Tier, what: str, value: float) -> None:
        """Keep by how many spreads a prediction was off; `what` is "start" or "finish". Raises Unavailable."""
        key = self._keys("scores", tier_line(pool, tier), what)
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            pipe.lpush(key, f"{value:.4f}")
            pipe.ltrim(key, 0, KEPT - 1)
            pipe.execute()

    def renders(self, pool: str) -> tuple[dict[str, RenderSums], RenderSums]:
        """What each tenant's renders took, as lua/commit.lua adds it up; and those with a worker's first load."""
        with mapped():
            found = cast("dict[str, str]", self._redis.hgetall(self._keys("renders", pool)))
        known = {tenant: RenderSums(*map(float, text.split(" "))) for tenant, text in found.items()}
        cold = known.pop("|cold", RenderSums())
        return known, cold

    def progress(self, pool: str, tier: Tier) -> LineProgress:
        """How forecasts of this line have come true so far. Raises Unavailable."""
        with mapped():
            found = cast("str | None", self._redis.hget(self._keys("progress", pool), tier))
        return LineProgress(*map(float, found.split(" "))) if found else LineProgress()

    def learn_progress(self, pool: str, tier: Tier, one: LineProgress) -> None:
        """Keep how forecasts of this line come true, in place of what was kept before. Raises Unavailable."""
        with mapped():
            self._redis.hset(self._keys("progress", pool), tier, " ".join(f"{part:.3f}" for part in astuple(one)))

    def job_times(self, pool: str, jobs: Sequence[Foretold]) -> list[JobTimes]:
        """When each of these jobs started and ended, and its place in the queue. Raises Unavailable."""
        with mapped(), self._redis.pipeline(transaction=False) as pipe:
            for one in jobs:
                pipe.hmget(self._keys("job", one.job), "state", "started_ms", "finished_ms", "lane")
                pipe.zrank(self._keys("queue", tier_line(pool, one.tier), one.tenant), one.job)
            answers = pipe.execute()
        return [_times(times, rank) for times, rank in zip(answers[::2], answers[1::2], strict=True)]


def _running(row: str, now_ms: int) -> RunningRender:
    predicted_s, started_ms, tier, cold, tenant, lane = row.split(" ")
    run_s = max(0.0, (now_ms - float(started_ms)) / 1000)
    return RunningRender(tenant, tier, float(predicted_s), run_s, cold == "1", lane)


def _waiting(row: str) -> Waiting:
    tenant, time, weight, queued, queued_ms, *picked = row.split(" ")
    waiting = Waiting(tenant, float(time), float(weight), float(queued_ms) / 1000, int(queued))
    if not picked:
        return waiting
    one, one_s, rank, lane = picked
    return replace(waiting, one=one, one_s=float(one_s), one_rank=int(rank), one_lane=lane)


def _row(one: Waiting, pace: Pace) -> str:
    numbers = (one.time, one.weight, one.queued_s, one.queued, pace.level, pace.doubt, pace.spread)
    return " ".join(map(repr, numbers))


def _turns(told: Mapping[str, Any]) -> Turns:
    lanes = {lane: [(int(rank), float(s)) for rank, s in points] for lane, points in told["lanes"].items()}
    return Turns([(int(rank), float(s)) for rank, s in told["plain"]], lanes, told["starts_s"])


def _foretold(text: str) -> Foretold:
    told = json.loads(text)
    return Foretold(**{**told, "tier": Tier(told["tier"]), "told": Expected(**told["told"])})


def _times(times: Sequence[str | None], rank: int | None) -> JobTimes:
    state, started, finished, lane = times
    over = state in (None, "succeeded", "failed", "cancelled")
    started_ms = None if started is None else int(started)
    done_ms = int(finished) if state == "succeeded" and finished is not None else None
    return JobTimes(over, started_ms, done_ms, rank, lane or "")


def _front_job(lane: str | None, predicted_s: str | None, *whole: str | None) -> FrontJob:
    return FrontJob(lane or "", float(predicted_s or 0), *(int(one or 0) for one in whole))
