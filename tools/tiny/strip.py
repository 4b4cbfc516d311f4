"""A picture of clips: a row for each, some of its frames from the first to the last."""

from collections.abc import Sequence
from pathlib import Path


def strip(clips: Sequence[Path], to: Path, frames: int = 6) -> None:
    """Write a JPEG or PNG."""
    import av
    import numpy as np
    from PIL import Image

    rows = []
    for clip in clips:
        with av.open(str(clip)) as box:
            seen = [frame.to_ndarray(format="rgb24") for frame in box.decode(video=0)]
        chosen = np.linspace(0, len(seen) - 1, frames).round().astype(int)
        rows.append(np.concatenate([seen[number] for number in chosen], 1))
    width = max(row.shape[1] for row in rows)
    same = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    Image.fromarray(np.concatenate(same)).save(to, quality=88, optimize=True)
