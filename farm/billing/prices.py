"""The price book: what a clip costs, in micro-credits. Pure: it knows settings and shapes, no tenant and no account."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from farm.config import PriceSettings
from farm.jobs.job import NewJob
from farm.jobs.money import MICRO
from farm.jobs.spec import JobSpec
from models.catalog import resolution_word
from models.planning.frame_rate import rational

#: a clip whose length is not known yet is estimated as one of this length
_GUESS_S = 5.0


class PriceBook:
    """Prices of clips from the settings, in micro-credits."""

    def __init__(self, settings: PriceSettings) -> None:
        self._rates = {
            model: {word.lower(): round(rate * MICRO) for word, rate in words.items()}
            for model, words in settings.per_second.items()
        }

    def rate(self, model: str, width: int, height: int) -> int | None:
        """Micro-credits per second of video; None where the book has no price."""
        # most farms have no prices
        return self.rate_of_word(model, resolution_word(width, height)) if model in self._rates else None

    def rate_of_word(self, model: str, resolution: str) -> int | None:
        """Micro-credits per second at a resolution word such as "480p"; None where the book has no price."""
        return self._rates.get(model, {}).get(resolution)

    def exact(self, spec: JobSpec, dialect_data: Mapping[str, Any]) -> int | None:
        """A job's price in micro-credits, by the rule of its dialect. None as for `price`."""
        billed = dialect_data.get("billed_s")
        return self.price(spec, (float(billed[0]), float(billed[1])) if billed else None)

    def hold(self, job: NewJob) -> int | None:
        """Micro-credits to hold when a job is admitted: its price, or that of a clip of _GUESS_S seconds while the
        length is unknown (intake holds the rest). None where the book has no price."""
        rate = self.rate(job.spec.model, job.spec.width, job.spec.height)
        if rate is None:
            return None
        exact = self.exact(job.spec, job.dialect_data)
        return cost(rate, _GUESS_S) if exact is None else exact

    def price(self, spec: JobSpec, billed_s: tuple[float, float] | None = None) -> int | None:
        """Micro-credits of a clip, rounded up; None where the book has no price or the length is not known yet.
        `billed_s`: a shorter clip costs as much as one of the first length, a longer one as one of the second."""
        rate, seconds = self.rate(spec.model, spec.width, spec.height), clip_seconds(spec)
        if rate is None or seconds is None:
            return None
        return cost(rate, seconds, billed_s)


def clip_seconds(spec: JobSpec) -> Fraction | None:
    """How long the result will be; None while a clip that decides it was not fetched."""
    if spec.length_of is not None:
        return None
    return spec.frames / rational(spec.fps)


def cost(rate: int, seconds: Fraction | float, billed_s: tuple[float, float] | None = None) -> int:
    """Micro-credits of `seconds` at `rate` per second, rounded up."""
    billed = Fraction(seconds)
    if billed_s is not None:
        billed = min(max(billed, Fraction(billed_s[0])), Fraction(billed_s[1]))
    return math.ceil(billed * rate)
