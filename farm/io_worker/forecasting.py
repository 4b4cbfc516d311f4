"""Housekeeping makes the forecasts that requests show, and compares some predictions with what became of them."""

from farm.ledger import BURST_POOL, INTAKE_POOL, Ledger
from farm.ledger.forecasts import Foretold
from farm.scheduling.forecast import Curve, Snapshot, curves, start_s
from farm.scheduling.prediction import ratio, work_ratios
from monitoring.metrics import FORECAST_RATIO

#: predictions of a pool that wait for their outcome at once
OPEN_MOST = 50


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
            # renders that take longer than predicted keep everybody behind them waiting
            snapshot = told.scaled(work_ratios(self._ledger.renders(pool)))
            found = curves(snapshot)
            self._ledger.keep_forecast(pool, at_ms, snapshot, found)
            still_open = self._judge(pool)
            self._foretell(pool, at_ms, snapshot, found, still_open)

    def _foretell(
        self, pool: str, at_ms: int, snapshot: Snapshot, found: list[Curve | None], still_open: set[str]
    ) -> None:
        """Of each tenant the job that the snapshot picked, as a client that asks about it is told."""
        for tier, curve in zip(snapshot.tiers, found, strict=True):
            for one in tier:
                if curve is None or not one.one or one.one in still_open or len(still_open) >= OPEN_MOST:
                    continue
                begins_s = start_s(curve, one, one.ahead_of(one.one_rank))
                # as the job itself says, which is what a client is told
                self._ledger.foretell(pool, Foretold(one.one, at_ms, begins_s, begins_s + one.one_s))
                still_open.add(one.one)

    def _judge(self, pool: str) -> set[str]:
        """Predictions whose outcome is known become ratios. Answers the jobs of those that are still open."""
        waiting = self._ledger.foretold(pool)
        times = self._ledger.job_times([one.job for one in waiting])
        still_open = set()
        for one in waiting:
            told = times[one.job]
            if told.started_ms is not None and not one.started:
                self._learn(pool, "start", one.start_s, (told.started_ms - one.at_ms) / 1000)
                self._ledger.foretell(pool, Foretold(one.job, one.at_ms, one.start_s, one.finish_s, started=True))
            if told.finished_ms is not None and told.started_ms is not None:
                took_s = (told.finished_ms - told.started_ms) / 1000
                self._ledger.learn_render(pool, told.tenant, one.finish_s - one.start_s, took_s)
            if told.finished_ms is not None:
                self._learn(pool, "finish", one.finish_s, (told.finished_ms - one.at_ms) / 1000)
            if told.over:
                self._ledger.judged(pool, one.job)
            else:
                still_open.add(one.job)
        return still_open

    def _learn(self, pool: str, what: str, predicted_s: float, actual_s: float) -> None:
        found = ratio(predicted_s, max(0.0, actual_s))
        FORECAST_RATIO.labels(what).observe(found)
        self._ledger.learn_ratio(pool, what, found)
