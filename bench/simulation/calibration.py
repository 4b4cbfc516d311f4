"""How good the farm's forecasts are: on each trace, housekeeping and a client's questions run beside the farm's own
rule, on the virtual clock. A question is about a queued shot, chosen at random, at each tick."""

import argparse
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from redis import Redis

from bench.ledger import redis_server
from bench.report import checked_server, machine
from bench.simulation.farm import Simulated, simulate
from bench.simulation.ledger_policy import START_MS, LedgerPolicy
from bench.simulation.trace import Trace, TraceShot
from bench.simulation.traces import TRACES, make
from farm.config import RedisSettings
from farm.io_worker.forecasting import Forecasting
from farm.jobs.states import State
from farm.ledger import connect
from farm.wire.own_forecast import forecast_of
from farm.wire.own_views import ForecastView

COLUMNS = (
    "questions",
    "start within",
    "finish within",
    "median error of the start",
    "of the finish",
    "median width of the start's interval",
    "of the finish's",
)
#: questions at a tick
_ASKED = 3


@dataclass(frozen=True)
class Told:
    """Of a shot, `at_s`: what was foretold."""

    shot: TraceShot
    at_s: float
    view: ForecastView


class Foretelling(LedgerPolicy):
    """The farm's rule, with what the io worker does for forecasts at every tick, and somebody who asks."""

    def __init__(self, trace: Trace, redis: Redis, seed: int = 1) -> None:
        super().__init__(trace, redis)
        self.presence = True
        self._all_seen()
        self.housekeeping, self.chance = Forecasting(self.ledger), random.Random(seed)
        self.told: list[Told] = []

    def tick(self, now_s: float) -> list[tuple[TraceShot, float | None]]:
        back = super().tick(now_s)
        self.housekeeping.refresh()
        waiting = [one for one in self.shots if one not in self.claims and one not in self.gone]
        for job_id in self.chance.sample(waiting, min(_ASKED, len(waiting))):
            shot = self.shots[job_id]
            job = self.ledger.get(shot.tenant, job_id)
            if job is None or job.state is not State.QUEUED:
                continue
            view = forecast_of(job, self.ledger.forecast(job.pool, job.tier, job.tenant))
            if view is not None:
                self.told.append(Told(shot, now_s, view))
        return back

    def done(self, shot: TraceShot, worker: int, now_s: float, took_s: float) -> None:
        super().done(shot, worker, now_s, took_s)
        del self.shots[self.ids[shot.name]]


def calibration(out: Simulated, told: Sequence[Told]) -> tuple[int, float, float, float, float, float, float]:
    """(questions, part of starts and of finishes within the 80 % interval, median error of both, median width of the
    interval of both), errors and widths as parts of how long it took from the question on."""
    within: dict[str, list[bool]] = {"start": [], "finish": []}
    wrong: dict[str, list[float]] = {"start": [], "finish": []}
    wide: dict[str, list[float]] = {"start": [], "finish": []}
    begun: dict[str, list[float]] = defaultdict(list)
    for run in out.runs:
        begun[run.shot.name].append(run.began_s)
    for one in told:
        # one that failed before starts again
        start_s = min(at_s for at_s in begun[one.shot.name] if at_s >= one.at_s)
        for what, actual_s in (("start", start_s), ("finish", out.ended[one.shot.name])):
            middle, low, high = (_seconds(one.view, what + end) for end in ("", "_from", "_until"))
            within[what].append(low - 1 <= actual_s <= high + 1)
            wrong[what].append(abs(middle - actual_s) / max(1.0, actual_s - one.at_s))
            wide[what].append((high - low) / max(1.0, actual_s - one.at_s))
    starts, finishes = (statistics.fmean(within[what]) for what in within)
    errors, widths = ([statistics.median(parts[what]) for what in within] for parts in (wrong, wide))
    return len(told), starts, finishes, *errors, *widths  # type: ignore[return-value]


def _seconds(view: ForecastView, name: str) -> float:
    return float(getattr(view, name).timestamp() - START_MS / 1000)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a row for each trace."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulation.calibration", description=__doc__)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--traces", nargs="+", choices=TRACES, default=list(TRACES))
    parser.add_argument("--size", type=float, default=1.0, help="how many shots, against the usual number")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    with redis_server() as url, connect(RedisSettings(ledger_url=url)) as redis:
        server = checked_server(redis, fsync="no")
        print(f"On {machine()}; {server}\n\n| trace | {' | '.join(COLUMNS)} |\n|---|{'---:|' * len(COLUMNS)}")
        for name in options.traces:
            trace = make(name, gpus=options.gpus, size=options.size, seed=options.seed)
            rule = Foretelling(trace, redis, options.seed)
            count, *parts = calibration(simulate(trace, rule), rule.told)
            print(f"| {trace.name} | {count} | {' | '.join(f'{part:.0%}' for part in parts)} |", flush=True)


if __name__ == "__main__":
    main()
