"""The constant frame rate that fits a clip best, from the times of its frames. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from models.planning.frame_rate import steady

#: rates that cameras and programs mean when they write one nearby
_USUAL = tuple(
    Fraction(*rate)
    for rate in (
        *((n, 1) for n in (5, 6, 8, 10, 12, 15, 16, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)),
        *((n * 1000, 1001) for n in (12, 15, 24, 30, 48, 60, 120)),
    )
)
#: containers round times: a rate this near to a usual one is that one
_NEAR = 0.002
#: part of the intervals that agree in a clip of constant rate, and of its frames that may be missing
_AGREE, _MISSING = 0.8, 1.15
#: a slower clip is read at this rate, a faster one is no clip; frames per second
_SLOWEST, _FASTEST = Fraction(1), Fraction(1000)
#: of a single picture without a rate
_STILL = Fraction(25)


@dataclass(frozen=True)
class Timing:
    """own     the clip's own rate: the one it has, or the mean where it changes
    rate    the constant rate at which it is read
    start_s, long_s   time of the first frame, and from there to the last one's beginning
    """

    own: Fraction
    rate: Fraction
    start_s: Fraction
    long_s: Fraction


def timing_of(times: Sequence[Fraction], tick: Fraction, told: Fraction | None) -> Timing:
    """times    of the frames that are shown, in seconds, in any order, at least one
    tick     what the container rounds times to, in seconds
    told     the rate that it names; None when it does not

    As many frames a second as there are: a recording of 30 frames in 2 s has 15, whatever its container counts in.
    """
    shown = sorted(set(times))
    start, span = shown[0], shown[-1] - shown[0]
    if len(shown) < 2 or span <= 0:
        own = told if told and _SLOWEST <= told <= _FASTEST else _STILL
    else:
        own = _named(_rate(shown, span, tick), tick / span, told)
    own = max(min(own, _FASTEST), _SLOWEST)
    return Timing(own, steady(own), start, span)


def _rate(shown: Sequence[Fraction], span: Fraction, tick: Fraction) -> Fraction:
    intervals = sorted(after - before for before, after in pairwise(shown))
    usual = intervals[len(intervals) // 2]
    alike = [one for one in intervals if abs(one - usual) <= max(2 * tick, usual / 10)]
    if len(alike) >= _AGREE * len(intervals):
        # one frame that was dropped is no change of rate
        steady_rate = len(alike) / sum(alike, Fraction(0))
        if span * steady_rate + 1 <= _MISSING * len(shown):
            return Fraction(steady_rate)
    return (len(shown) - 1) / span


def _named(rate: Fraction, rounding: Fraction, told: Fraction | None) -> Fraction:
    """The rate that a measured one stands for. `rounding`: part of it that the container may have lost."""
    near = max(_NEAR, 2 * float(rounding))
    for meant in (*((told,) if told else ()), *sorted(_USUAL, key=lambda usual: abs(usual - rate))[:2]):
        if abs(float(meant / rate) - 1) <= near:
            return meant
    return rate.limit_denominator(1001)
