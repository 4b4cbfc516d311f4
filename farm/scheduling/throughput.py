"""How fast a lane is on the GPUs of a pool, learned from the renders that ended. Pure."""

from dataclasses import dataclass

#: from the tenth render on, each new one counts a tenth: drivers, drift and other shapes are followed
_STEADY = 10
#: once a few renders agree, one that differs more than this many times is a hiccup (a cold disk, a shared GPU)
_AGREED, _HICCUP = 3, 4.0


@dataclass(frozen=True)
class Speed:
    """`s_per_tflop`: seconds that one TFLOP of a render takes, everything included but loading the model."""

    s_per_tflop: float
    samples: int

    @property
    def tflops(self) -> float:
        """The speed in TFLOP/s."""
        return 1.0 / self.s_per_tflop


def learned(speed: Speed | None, work_tflop: float, seconds: float) -> Speed | None:
    """The estimate after a render of `work_tflop` took `seconds`: a mean at first, then a moving one. Times are
    averaged, not rates, so that predicted seconds add up. What cannot be a measurement changes nothing."""
    seen = seconds / work_tflop if work_tflop > 0 else 0.0
    if not 0 < seen < float("inf"):
        return speed
    if speed is None:
        return Speed(seen, 1)
    if speed.samples >= _AGREED:
        seen = max(speed.s_per_tflop / _HICCUP, min(seen, speed.s_per_tflop * _HICCUP))
    samples = min(speed.samples + 1, _STEADY)
    return Speed(speed.s_per_tflop + (seen - speed.s_per_tflop) / samples, samples)


def predicted_s(work_tflop: float, speed: Speed | None, assumed_tflops: float) -> float:
    """Seconds that a render is expected to take on a warm model; by the assumption until something was measured."""
    return work_tflop * speed.s_per_tflop if speed else work_tflop / assumed_tflops
