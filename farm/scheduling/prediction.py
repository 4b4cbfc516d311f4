"""A predicted time with the interval that held in four of five cases so far. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: added to both sides of a ratio, so that seconds of a short wait weigh nothing, s
ALLOWANCE_S = 10.0
#: outcomes before they are believed; until then the interval is this wide
_ENOUGH, _GUESS = 20, (0.6, 1.0, 1.8)
#: renders that are supposed to have taken what was predicted, besides those that are known
_DOUBTED = 2
#: outcomes that are kept
KEPT = 300


@dataclass(frozen=True)
class Predicted:
    """Seconds from now: the middle one, and the ends of the 80 % interval."""

    seconds: float
    low: float
    high: float


def ratio(predicted_s: float, actual_s: float) -> float:
    """An outcome over its prediction; 1 where it was right."""
    return (actual_s + ALLOWANCE_S) / (predicted_s + ALLOWANCE_S)


def work_ratios(renders: Sequence[tuple[str, float, float]]) -> dict[str, float]:
    """What renders of each tenant took over what was predicted, from (tenant, predicted, actual seconds): a few
    weigh little."""
    sums: dict[str, list[float]] = {}
    for tenant, predicted_s, actual_s in renders:
        known = sums.setdefault(tenant, [0.0, 0.0, 0.0])
        known[0] += predicted_s
        known[1] += actual_s
        known[2] += 1
    found = {}
    for tenant, (predicted_s, actual_s, count) in sums.items():
        doubt_s = _DOUBTED * predicted_s / count
        found[tenant] = (actual_s + doubt_s) / (predicted_s + doubt_s) if predicted_s > 0 else 1.0
    return found


def predicted(seconds: float, ratios: Sequence[float]) -> Predicted:
    """`ratios`: of predictions like this one, in any order."""
    low, middle, high = _quantiles(ratios) if len(ratios) >= _ENOUGH else _GUESS
    ends = [max(0.0, (seconds + ALLOWANCE_S) * part - ALLOWANCE_S) for part in (middle, low, high)]
    return Predicted(*ends)


def _quantiles(ratios: Sequence[float]) -> tuple[float, float, float]:
    ordered = sorted(ratios)
    last = len(ordered) - 1
    return ordered[math.floor(0.1 * last)], ordered[round(0.5 * last)], ordered[math.ceil(0.9 * last)]
