"""Which of the farm's own workers could render a job. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from farm.jobs.job import Job
from farm.jobs.worker_status import LiveWorker, WorkerState

#: states in which a worker takes jobs, or will when its engine is up
_AT_WORK = frozenset({WorkerState.STARTING, WorkerState.IDLE, WorkerState.BUSY})


@dataclass(frozen=True)
class Able:
    """Live workers that offer a job's model. idle: of them, those that would take it now."""

    count: int
    idle: int


def able_for(job: Job, workers: Sequence[LiveWorker]) -> Able:
    """Who could render the job here. A worker that is too small for what waits says so (`leaves`), and counts for none
    of it."""
    found = [
        one
        for one in workers
        if one.pool == job.pool
        and one.status.state in _AT_WORK
        and job.spec.model in one.status.models
        and not one.status.leaves
    ]
    return Able(len(found), sum(one.status.state is WorkerState.IDLE for one in found))
