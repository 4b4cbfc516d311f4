"""Whether jobs were served as promised, counted where it is known: at the first claim and at the commit."""

from farm.jobs.job import Claim, Job
from monitoring.metrics import DEADLINES, PREDICTION_RATIO, QUEUE_WAIT_SECONDS


def started(claim: Claim) -> None:
    """An attempt began; a job's first one is what it waited for."""
    job = claim.job
    first = claim.attempt == job.intake_attempt + 1
    if first and job.queued_ms is not None and job.started_ms is not None:
        QUEUE_WAIT_SECONDS.labels(job.pool).observe(max(0, job.started_ms - job.queued_ms) / 1000)


def rendered(job: Job, warm_s: float) -> None:
    """The job took its device `warm_s` seconds on a loaded model."""
    if job.predicted_s > 0:
        PREDICTION_RATIO.labels(job.pool).observe(warm_s / job.predicted_s)


def committed(job: Job, since_claim_s: float) -> None:
    """The job's result is there, so many seconds after the claim; its times are the ledger's."""
    if job.deadline_ms is not None and job.started_ms is not None:
        missed = job.started_ms + 1000 * since_claim_s > job.deadline_ms
        DEADLINES.labels(job.pool, "missed" if missed else "met").inc()
