"""What the tests of submission share: a farm without workers' processes, and pictures."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from farm.ledger.outcomes import Permit

T2V = "wan2.2-t2v-a14b-tiny"
#: does both t2v and i2v
MODEL = "wan2.2-ti2v-5b-tiny"
TINY = (T2V, "wan2.2-i2v-a14b-tiny", MODEL)


@dataclass
class Woken:
    """Takes the permits instead of a broker."""

    permits: list[Permit] = field(default_factory=list)

    def publish(self, permits: Sequence[Permit]) -> None:
        self.permits += permits


def png(width: int, height: int, seed: int = 0) -> bytes:
    """A noisy picture, so that it does not compress to nothing."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def pixels(data: bytes) -> bytes:
    """What a picture shows, whatever file it is in."""
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB").tobytes()
