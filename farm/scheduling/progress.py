"""How forecasts come true: jobs that come meanwhile and workers that go make a second of a forecast take longer than
one, and affinity changes the order of starts. Pure."""

import math
from dataclasses import dataclass, replace

#: what was seen so long ago weighs a third, s
_MEMORY_S = 3600.0
#: renders for which forecasts are supposed to have come true as they said, besides what is known
_SUPPOSED = 1.0
#: and for which nobody knows whether they go on as they did
_UNSURE = 3.0
#: the standard deviation of the rate before anything is known
_DOUBT = 0.4
#: jobs that come at once and count as ones that keep coming
_AT_ONCE = 3.0
#: starts that are supposed to have been a slot away from their turn; of those that are known, an older one counts less
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
        """A job began so long before its turn: lanes, cards and priorities that come change the order."""
        return replace(self, starts=_KEPT * self.starts + 1, squares=_KEPT * self.squares + early_s**2)

    def order_s(self, slot_s: float) -> float:
        """The standard deviation of a start that the order makes; slot_s: of it, as long as nothing is known."""
        return math.sqrt((self.squares + _STARTS * slot_s**2) / (self.starts + _STARTS))

    def rate(self, mean_s: float) -> float:
        """Seconds of a forecast that go by in one; mean_s: of a render."""
        supposed_s = _SUPPOSED * mean_s
        found = (self.gained_s + supposed_s) / (self.passed_s + supposed_s)
        return min(_FASTEST, max(_SLOWEST, found))

    def doubt(self, mean_s: float) -> float:
        """The standard deviation of the rate, as a part of it: the less was seen, the wider."""
        supposed_s = _UNSURE * mean_s
        return _DOUBT * math.sqrt(supposed_s / (self.passed_s + supposed_s)) / self.rate(mean_s)
