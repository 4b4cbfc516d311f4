"""The face of a pose, cut out of its frame: Animate takes the expression from it."""

import math
from typing import Any

from models.preprocess.keypoints import FACE

#: the box around the face is this much larger in area than its points, most of it upwards: foreheads have no points
_LARGER = 1.3
SIDE = 512


def box(pose: Any, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the face in a frame of that size; the whole frame when there is nothing to see."""
    points = pose[FACE, :2]
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    grow = math.sqrt(_LARGER) - 1
    wider, taller = (right - left) * grow, (bottom - top) * grow
    found = (
        int(max(left - wider / 2, 0)),
        int(max(top - taller * 3 / 4, 0)),
        int(min(right + wider / 2, width)),
        int(min(bottom + taller / 4, height)),
    )
    return found if found[2] - found[0] > 1 and found[3] - found[1] > 1 else (0, 0, width, height)


def crop(frame: Any, pose: Any, side: int = SIDE) -> Any:
    """The face as a square: uint8 (side, side, 3)."""
    import numpy as np
    from PIL import Image

    height, width = frame.shape[:2]
    face = Image.fromarray(frame).crop(box(pose, width, height))
    return np.asarray(face.resize((side, side), Image.Resampling.BILINEAR))
