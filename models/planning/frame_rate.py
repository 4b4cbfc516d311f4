"""Frame-rate normalisation, shared by the planner and the decoder: the rate at which a clip is read, and its frames.
Pure."""

import math
from fractions import Fraction

#: faster clips are read at half their rate, or a quarter: no model was shown more
MAX_FPS = 60


def rational(fps: float) -> Fraction:
    """29.97003 is 30000/1001."""
    return Fraction(fps).limit_denominator(1001)


def steady(rate: Fraction) -> Fraction:
    """The rate at which a clip of that rate is read."""
    while rate > MAX_FPS:
        rate /= 2
    return rate


def counted(long_s: Fraction, own_rate: Fraction, rate: Fraction) -> int:
    """Frames that models.media.clips.read gives at `rate` of a clip whose last frame is long_s after its first."""
    return max(1, math.ceil((long_s + 1 / own_rate - slack_s(own_rate, rate)) * rate))


def slack_s(own_rate: Fraction, rate: Fraction) -> Fraction:
    """How late a frame may be and still belong to its tick: half an interval, since containers round their times."""
    return min(1 / rate, 1 / own_rate) / 2
