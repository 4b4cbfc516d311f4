"""Where a job stands, as the pages show it, with what operators paused."""

from api.console import words
from api.services import services
from farm.jobs.job import Job


def chip_of(job: Job) -> words.StatusWord:
    """Its word. A job that an operator keeps is paused."""
    pauses = services().pauses
    return words.status_of(pauses.told(job), by_operator=bool(pauses.keeping(job)))
