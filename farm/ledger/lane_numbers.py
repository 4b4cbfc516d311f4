"""Lanes in numbers: how many of a lane's jobs end in an hour, how long one takes, and since when the oldest waits."""

from pydantic import BaseModel, ConfigDict, field_validator

from farm.ledger.scripts import Scripted


class LaneNumbers(BaseModel):
    """A lane in a pool. done, failed: jobs that ended since LanesNow.since_ms; seconds: that the done ones took
    together, from their last start to their end. queued, running, and oldest_ms (since when the oldest queued one
    waits): of the jobs that were looked at."""

    model_config = ConfigDict(frozen=True)

    pool: str
    lane: str
    queued: int
    running: int
    done: int
    failed: int
    seconds: float
    oldest_ms: int | None = None

    @property
    def mean_s(self) -> float | None:
        """Seconds from start to end of one that was done; None where none was."""
        return self.seconds / self.done if self.done else None


class LanesNow(BaseModel):
    """`whole`: every queued job was looked at, not the first of each queue alone."""

    model_config = ConfigDict(frozen=True)

    now_ms: int
    since_ms: int
    whole: bool
    lanes: tuple[LaneNumbers, ...]

    @field_validator("lanes", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        # Lua writes its empty table as an object
        return value or ()

    def per_hour(self, one: LaneNumbers) -> float:
        """Jobs of the lane that are done in an hour, at the pace of what was looked at."""
        return one.done * 3_600_000 / max(1, self.now_ms - self.since_ms)


class LaneReading(Scripted):
    def lanes(self) -> LanesNow:
        """Every lane that has jobs which wait, run, or ended within an hour. Costs the same for any number of jobs."""
        return LanesNow.model_validate_json(self.run("lanes"))
