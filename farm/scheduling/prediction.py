"""A predicted time with an interval that holds in four of five cases. Its width follows from what is not known,
corrected by the outcomes of predictions like it. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

#: added to every spread, s: so a few seconds of a short wait are no error
ALLOWANCE_S = 10.0
#: a prior: ten outcomes, a little narrower than their spread
_SUPPOSED = [0.8 * NormalDist().inv_cdf((n + 1) / 11) for n in range(10)]
#: outcomes that are kept
KEPT = 100


@dataclass(frozen=True)
class Predicted:
    """Seconds from now: the middle one, and the ends of the 80 % interval."""

    seconds: float
    low: float
    high: float


def ratio(predicted_s: float, actual_s: float) -> float:
    """An outcome over its prediction; 1 where it was right."""
    return (actual_s + ALLOWANCE_S) / (predicted_s + ALLOWANCE_S)


def score(predicted_s: float, spread_s: float, actual_s: float) -> float:
    """By how many spreads an outcome was later than predicted."""
    return (actual_s - predicted_s) / spread_s


def predicted(seconds: float, spread_s: float, scores: Sequence[float]) -> Predicted:
    """`scores`: of predictions like this one, in any order."""
    ordered = sorted([*_SUPPOSED, *scores])
    low, high = (seconds + spread_s * _quantile(ordered, part) for part in (0.1, 0.9))
    return Predicted(seconds, max(0.0, min(low, seconds)), max(high, seconds))


def _quantile(ordered: Sequence[float], part: float) -> float:
    # so that the next one is below it in this part of cases, also where there are few
    at = min(max(part * (len(ordered) + 1) - 1, 0.0), len(ordered) - 1.0)
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])
