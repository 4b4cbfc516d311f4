"""Finding where a clip jumps to another shot: a motion that ends there cannot be followed across."""

from collections import deque
from typing import Any

#: mean difference of two frames, in 8-bit steps, that no movement inside a shot makes
_JUMP = 28.0
#: and how many times the usual difference it must be: a shaky, fast shot differs a lot from frame to frame
_TIMES = 4.0
_SIDE = 32


class Cuts:
    """Shown one frame after the other, says which one begins another shot."""

    def __init__(self) -> None:
        self._before: Any = None
        self._usual: deque[float] = deque(maxlen=12)

    def begins(self, frame: Any) -> bool:
        """Whether `frame` (H, W, 3) belongs to another shot than the one before it."""
        import numpy as np
        from PIL import Image

        small = np.asarray(Image.fromarray(frame).resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32)
        before, self._before = self._before, small
        if before is None:
            return False
        difference = float(np.abs(small - before).mean())
        usual = sorted(self._usual)[len(self._usual) // 2] if self._usual else 0.0
        self._usual.append(difference)
        return difference > max(_JUMP, _TIMES * usual)
