"""Which of the farm's own workers could render a job. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from farm.jobs.job import Job
from farm.scheduling.offers import PoolOffer


@dataclass(frozen=True)
class Able:
    """Live workers that offer a job's model. idle: of them, those that would take it now."""

    count: int
    idle: int


def able_for(job: Job, offers: Iterable[PoolOffer]) -> Able:
    """Who could render the job here. A worker that is too small for what waits says so, and counts for none of it."""
    found = [one for one in offers if one.pool == job.pool and job.spec.model in one.models]
    return Able(sum(one.able for one in found), sum(one.idle for one in found))
