"""The addresses of a result's files, signed again for every answer."""

from datetime import UTC, datetime, timedelta

from api.services import services
from farm.jobs.job import Job
from farm.jobs.states import State
from farm.wire.own_views import Links


def links(job: Job) -> Links | None:
    """None for a job without a committed result."""
    files, here = job.artifacts, services()
    if job.state is not State.SUCCEEDED or files is None:
        return None
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=here.settings.s3.url_ttl_s)
    sign = here.store.presign_get
    return Links(sign(files.video), sign(files.poster), sign(files.recipe), expires)
