"""The 133 points of COCO-WholeBody, and the 20 of them that make the body as Wan-Animate was trained to see it.

A pose is an array (133, 3): x and y in pixels, and how sure the model is, [0, 1].
"""

from typing import Any

COUNT = 133
LEFT_HAND, RIGHT_HAND, FACE = slice(91, 112), slice(112, 133), slice(23, 91)

#: nose, neck, right arm (3), left arm (3), right leg (3), left leg (3), eyes, ears, toes: each the middle of two points
_FIRST = (0, 6, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 17, 20)
_SECOND = (0, 5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 18, 21)
#: of the 20: nose, neck, shoulders, hips and two ankles, points that surely lie on the person
INSIDE = (0, 1, 2, 5, 8, 11, 10, 13)


def body(pose: Any) -> Any:
    """The 20 points of the body (20, 3)."""
    return (pose[list(_FIRST)] + pose[list(_SECOND)]) / 2


def moved(pose: Any, scale: float, left: float, top: float) -> Any:
    """The pose on another canvas: scaled, then shifted by (-left, -top) pixels."""
    there = pose.copy()
    there[:, 0] = pose[:, 0] * scale - left
    there[:, 1] = pose[:, 1] * scale - top
    return there
