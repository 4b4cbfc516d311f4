"""How forecasts of a line come true. Jobs that are submitted meanwhile and workers that leave make a forecast second
take longer than one, and affinity changes the order of starts. Pure."""

import math
from dataclasses import dataclass, replace

#: what was seen so long ago weighs a third, s
_MEMORY_S = 3600.0
#: a prior: forecasts are taken to have come true for the time of so many renders
_SUPPOSED = 1.0
#: the time of so many renders has to be seen before the rate is trusted
_UNSURE = 3.0
#: the standard deviation of the rate before anything is known
_DOUBT = 0.4
#: of jobs that are submitted at once so many count as jobs that will keep coming
_AT_ONCE = 3.0
#: a prior: so many starts are taken to have been one slot away from their turn; and what an older start counts
_STARTS, _KEPT = 3.0, 1 - 1 / 30
#: what is cancelled or fails makes forecasts come true faster once, and not from then on
_SLOWEST, _FASTEST = 0.05, 1.05


@dataclass(frozen=True)
class LineProgress:
    """In `passed_s` seconds the jobs that wait came `gained_s` nearer to their turn, on average. `starts` jobs began;
    `squares`: the squared seconds by which that was before or after their turn. Older ones weigh less."""

    gained_s: float = 0.0
    passed_s: float = 0.0
    starts: float = 0.0
    squares: float = 0.0

    def and_(self, gained_s: float, passed_s: float, slot_s: float) -> "LineProgress":
        """What was seen since. slot_s: what one more job delays the others."""
        # who brings many jobs at once does not go on doing so: the forecasts have them now
        gained_s = max(gained_s, -passed_s - _AT_ONCE * slot_s)
        kept = math.exp(-passed_s / _MEMORY_S)
        return replace(self, gained_s=kept * self.gained_s + gained_s, passed_s=kept * self.passed_s + passed_s)

    def begun(self, early_s: float) -> "LineProgress":
        """With a job that started early_s before its turn (below 0: after it)."""
        return replace(self, starts=_KEPT * self.starts + 1, squares=_KEPT * self.squares + early_s**2)

    def order_s(self, slot_s: float) -> float:
        """The standard deviation of a start, s, because jobs do not start in the order of their turns. slot_s: its
        value while nothing is known."""
        return math.sqrt((self.squares + _STARTS * slot_s**2) / (self.starts + _STARTS))

    def rate(self, mean_s: float) -> float:
        """Forecast seconds that pass in one second: below 1, jobs start later than forecast. mean_s: seconds of a
        render."""
        supposed_s = _SUPPOSED * mean_s
        found = (self.gained_s + supposed_s) / (self.passed_s + supposed_s)
        return min(_FASTEST, max(_SLOWEST, found))

    def doubt(self, mean_s: float) -> float:
        """The standard deviation of the rate, as a part of it: the less was seen, the larger."""
        supposed_s = _UNSURE * mean_s
        return _DOUBT * math.sqrt(supposed_s / (self.passed_s + supposed_s)) / self.rate(mean_s)
