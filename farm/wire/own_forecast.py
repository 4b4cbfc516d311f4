"""When a queued job is expected to start and to end, in the farm's own JSON. Pure."""

from datetime import datetime

from farm.jobs.job import Job
from farm.scheduling.forecast import LineForecast, expected, start_s
from farm.scheduling.prediction import predicted
from farm.wire.own_views import ForecastView, moment


def forecast_of(job: Job, line: LineForecast | None, own_s: float | None = None) -> ForecastView | None:
    """`line`: of the job's tenant and tier. `own_s`: predicted seconds of its tenant's jobs before it; None: what as
    many jobs as are before it take. None where nothing is foretold."""
    if line is None or job.position is None:
        return None
    ahead_s = line.ahead_s(job.position, job.lane, own_s)
    begins_s = start_s(line.curve, line.waiting, ahead_s, job.position)
    told = expected(line.curve, line.pace, begins_s, line.pace.level * job.predicted_s)
    start = predicted(told.start_s, told.start_spread_s, line.start_scores)
    finish = predicted(told.finish_s, told.finish_spread_s, line.finish_scores)
    times = (_at(line, job, seconds) for one in (start, finish) for seconds in (one.seconds, one.low, one.high))
    return ForecastView(**dict(zip(ForecastView.model_fields, times, strict=True)))


def left_s(job: Job, forecast: ForecastView | None) -> float | None:
    """Seconds from when the job was read until it ends."""
    if forecast is None or job.read_ms is None:
        return None
    return round(max(0.0, forecast.finish.timestamp() - job.read_ms / 1000), 1)


def _at(line: LineForecast, job: Job, seconds: float) -> datetime:
    # what was to begin meanwhile begins now
    return moment(max(line.at_ms + round(1000 * seconds), job.read_ms or 0))
