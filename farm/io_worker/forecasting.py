"""Housekeeping makes the forecasts that requests show, and compares some predictions with what became of them."""

import statistics
from dataclasses import dataclass, field, replace

from farm.jobs.states import Tier
from farm.ledger import BURST_POOL, INTAKE_POOL, Ledger
from farm.ledger.forecasts import Foretold, JobTimes
from farm.scheduling.forecast import Curve, Snapshot, Waiting, curves, expected, start_s
from farm.scheduling.pace import Paces, paces
from farm.scheduling.prediction import ratio, score
from monitoring.metrics import FORECAST_RATIO

#: predictions of a pool that wait for their outcome at once
OPEN_MOST = 100


@dataclass
class _Line:
    """A tier of the pool: its curve as the queues tell it, and as it is shown. unit: what a predicted second takes.
    seen: of jobs that waited, the seconds that they came nearer and that went by; early: of those that began, by how
    much that was before their turn."""

    tier: Tier
    curve: Curve | None
    waiting: dict[str, Waiting]
    unit: float
    seen: list[tuple[float, float]] = field(default_factory=list)
    early: list[float] = field(default_factory=list)
    shown: Curve | None = None

    def left_s(self, tenant: str, rank: int | None, lane: str) -> float | None:
        """Until the turn of the tenant's job, as its curve tells."""
        one = self.waiting.get(tenant)
        if self.curve is None or one is None or rank is None:
            return None
        return start_s(self.curve, one, one.ahead_of(rank, lane), rank)


class Forecasting:
    """One per io worker; several at once do no harm."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def refresh(self) -> None:
        """A new forecast of every pool that renders. Raises Unavailable."""
        for pool in self._ledger.pools():
            if pool in (INTAKE_POOL, BURST_POOL):
                continue
            at_ms, told = self._ledger.snapshot(pool)
            known = paces(*self._ledger.renders(pool), told.attempts)
            # renders that take longer than predicted keep everybody behind them waiting
            rule = replace(self._ledger.order_rule, load_s=known.load_s)
            snapshot = told.paced(known).ordered(self._ledger.fronts(pool, told), known, rule)
            lines = _lines(told, snapshot)
            still_open = self._judge(pool, at_ms, lines)
            for line in lines.values():
                self._show(pool, line)
            self._ledger.keep_forecast(pool, at_ms, snapshot, [line.shown for line in lines.values()], known)
            self._foretell(pool, at_ms, lines, known, still_open)

    def _show(self, pool: str, line: _Line) -> None:
        progress = self._ledger.progress(pool, line.tier)
        if line.seen:
            gained_s, passed_s = (statistics.fmean(seconds) for seconds in zip(*line.seen, strict=True))
            progress = progress.and_(gained_s, passed_s, line.curve.slot_s if line.curve else 0.0)
            for early_s in line.early:
                progress = progress.begun(early_s)
            self._ledger.learn_progress(pool, line.tier, progress)
        if line.curve is not None:
            line.shown = line.curve.corrected(progress)

    def _foretell(self, pool: str, at_ms: int, lines: dict[Tier, _Line], known: Paces, still_open: set[str]) -> None:
        """Of each tenant the job that the snapshot picked, as a client that asks about it is told."""
        found = []
        for line in lines.values():
            for one in line.waiting.values():
                if not one.one or one.one in still_open or line.shown is None:
                    continue
                left_s = line.left_s(one.tenant, one.one_rank, one.one_lane)
                if left_s is None:
                    continue
                ahead_s = one.ahead_of(one.one_rank, one.one_lane)
                begins_s = start_s(line.shown, one, ahead_s, one.one_rank)
                told = expected(line.shown, known.of(one.tenant), begins_s, one.one_s)
                found.append(Foretold(one.one, one.tenant, line.tier, at_ms, told, at_ms, left_s, line.unit))
        self._ledger.foretell(pool, found[: max(0, OPEN_MOST - len(still_open))])

    def _judge(self, pool: str, at_ms: int, lines: dict[Tier, _Line]) -> set[str]:
        """Predictions whose outcome is known become scores. Answers the jobs of those that are still open."""
        waiting = self._ledger.foretold(pool)
        kept = []
        for one, times in zip(waiting, self._ledger.job_times(pool, waiting), strict=True):
            told, seen = one.told, one
            if not one.started:
                seen = _watched(one, times, at_ms, lines[one.tier])
            if times.started_ms is not None and not one.started:
                self._learn(pool, one, "start", (told.start_s, told.start_spread_s, times.started_ms))
                seen = replace(seen, started=True)
            if times.finished_ms is not None:
                self._learn(pool, one, "finish", (told.finish_s, told.finish_spread_s, times.finished_ms))
            if times.over:
                self._ledger.judged(pool, one.job)
            else:
                kept.append(seen)
        self._ledger.foretell(pool, kept)
        return {one.job for one in kept}

    def _learn(self, pool: str, one: Foretold, what: str, outcome: tuple[float, float, int]) -> None:
        """outcome: predicted seconds, their spread, and when it was, ms."""
        predicted_s, spread_s, then_ms = outcome
        actual_s = max(0.0, (then_ms - one.at_ms) / 1000)
        FORECAST_RATIO.labels(what).observe(ratio(predicted_s, actual_s))
        self._ledger.learn_score(pool, one.tier, what, score(predicted_s, spread_s, actual_s))


def _lines(told: Snapshot, paced: Snapshot) -> dict[Tier, _Line]:
    found = {}
    for tier, before, waiting, curve in zip(Tier, told.tiers, paced.tiers, curves(paced), strict=True):
        predicted_s, queued_s = (sum(one.queued_s for one in line) for line in (before, waiting))
        unit = queued_s / predicted_s if predicted_s > 0 else 1.0
        found[tier] = _Line(tier, curve, {one.tenant: one for one in waiting}, unit)
    return found


def _watched(one: Foretold, times: JobTimes, at_ms: int, line: _Line) -> Foretold:
    """How much nearer its turn is than when it was last looked at."""
    left_s = 0.0 if times.started_ms is not None else line.left_s(one.tenant, times.rank, times.lane)
    seen_ms = min(at_ms, times.started_ms or at_ms)
    if left_s is None or seen_ms <= one.seen_ms:
        return one
    # what was learned of renders meanwhile is no progress, nor the want of it
    before_s, passed_s = one.left_s * line.unit / one.unit, (seen_ms - one.seen_ms) / 1000
    line.seen.append((before_s - left_s, passed_s))
    if times.started_ms is not None:
        line.early.append(before_s - passed_s)
    return replace(one, seen_ms=seen_ms, left_s=left_s, unit=line.unit)
