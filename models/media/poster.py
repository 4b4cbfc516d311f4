"""A clip's poster."""

from pathlib import Path
from typing import Any

#: below this, in 8-bit steps, every pixel of every frame counts as black
BLACK = 8


def write_poster(path: Path, frames: Any) -> int:
    """The frame that shows most, as a JPEG; returns its number.

    From the middle half of the clip, because the ends fade in and out; sharp and neither dark nor burnt out. From all
    of it when the middle is black.
    """
    from PIL import Image

    first, last = len(frames) // 4, max(len(frames) * 3 // 4, len(frames) // 4 + 1)
    candidates = range(first, last, max(1, (last - first) // 12))
    best = max(candidates, key=lambda i: _shows(frames[i]))
    if int(frames[best].max()) < BLACK:
        seen = [i for i in range(len(frames)) if int(frames[i].max()) >= BLACK]
        best = max(seen[:: max(1, len(seen) // 12)], key=lambda i: _shows(frames[i]), default=best)
    Image.fromarray(frames[best]).save(path, "JPEG", quality=90, optimize=True)
    return best


def _shows(frame: Any) -> float:
    import numpy as np

    grey = frame[::2, ::2].mean(axis=2, dtype=np.float32)
    detail = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    return float(detail) * (1.0 - abs(float(grey.mean()) - 127.5) / 127.5)
