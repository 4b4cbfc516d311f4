"""A pose drawn as Wan-Animate knows it: coloured limbs on black, joints on top, hands finer. Other styles cost quality.

Limbs, colours and widths are those of Wan's own preprocessing.
"""

import colorsys
import math
from typing import Any

from models.preprocess.keypoints import LEFT_HAND, RIGHT_HAND, body

#: a point that the model is less sure of is not drawn
SURE = 0.5
#: pairs of the 20 body points, from shoulder to toes
_LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10)),
    *((1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (13, 18), (10, 19)),
)
_COLOURS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0)),
    *((0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255)),
    *((170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85), (200, 200, 0), (100, 100, 0)),
)
#: limbs are drawn at this share of their colour, so that joints stand out
_DIM = 0.6
#: pairs of the 21 points of a hand: five fingers from the wrist
_FINGERS = tuple((0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, 21))
_KNUCKLE = (0, 0, 255)


def draw(pose: Any, width: int, height: int) -> Any:
    """The skeleton of a pose (133, 3) in canvas pixels: uint8 (height, width, 3)."""
    import numpy as np
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (width, height))
    pen = ImageDraw.Draw(canvas)
    thick = stick(width, height)
    points = body(pose)
    for (start, end), colour in zip(_LIMBS, _COLOURS, strict=False):
        if min(points[start, 2], points[end, 2]) >= SURE:
            dim = tuple(int(part * _DIM) for part in colour)
            pen.polygon(_ellipse(points[start, :2], points[end, :2], thick), fill=dim)
    for point, colour in zip(points, _COLOURS, strict=True):
        if point[2] >= SURE:
            _dot(pen, point, thick, colour)
    for hand in (pose[LEFT_HAND], pose[RIGHT_HAND]):
        _hand(pen, hand, max(thick // 2, 1))
    return np.asarray(canvas)


def stick(width: int, height: int) -> int:
    """Half the width of a limb, in pixels."""
    return max(min(width, height) // 200 - 1, 1)


def _ellipse(start: Any, end: Any, thick: int) -> list[tuple[float, float]]:
    """A limb: an ellipse from joint to joint, as a polygon."""
    middle = (int((start[0] + end[0]) / 2), int((start[1] + end[1]) / 2))
    half = int(math.dist(start, end) / 2)
    turn = math.radians(int(math.degrees(math.atan2(start[1] - end[1], start[0] - end[0]))))
    cos, sin = math.cos(turn), math.sin(turn)
    outline = []
    for degree in range(0, 360, 4):
        along, across = half * math.cos(math.radians(degree)), thick * math.sin(math.radians(degree))
        outline.append((middle[0] + along * cos - across * sin, middle[1] + along * sin + across * cos))
    return outline


def _hand(pen: Any, hand: Any, thick: int) -> None:
    for number, (start, end) in enumerate(_FINGERS):
        if min(hand[start, 2], hand[end, 2]) >= SURE and min(hand[[start, end], :2].ravel()) > 0:
            red, green, blue = colorsys.hsv_to_rgb(number / len(_FINGERS), 1.0, 1.0)
            line = [(int(hand[joint, 0]), int(hand[joint, 1])) for joint in (start, end)]
            pen.line(line, fill=(int(red * 255), int(green * 255), int(blue * 255)), width=thick)
    for point in hand:
        if point[2] >= SURE and min(point[:2]) > 0:
            _dot(pen, point, thick, _KNUCKLE)


def _dot(pen: Any, point: Any, radius: int, colour: tuple[int, int, int]) -> None:
    x, y = int(point[0]), int(point[1])
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
