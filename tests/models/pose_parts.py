"""Bodies for the tests of Animate's preprocessing: networks of random weights see none."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from models.preprocess.keypoints import COUNT, FACE, LEFT_HAND, RIGHT_HAND
from models.preprocess.persons import Box

#: a standing figure of height 1 whose feet are at (0, 1): the 17 points of COCO, then big toe, small toe, heel twice
_STANDING = (
    *((0.0, 0.10), (0.02, 0.08), (-0.02, 0.08), (0.04, 0.09), (-0.04, 0.09)),
    *((0.10, 0.22), (-0.10, 0.22), (0.16, 0.37), (-0.16, 0.37), (0.18, 0.51), (-0.18, 0.51)),
    *((0.06, 0.52), (-0.06, 0.52), (0.07, 0.74), (-0.07, 0.74), (0.07, 0.95), (-0.07, 0.95)),
    *((0.10, 0.99), (0.12, 0.98), (0.06, 0.98), (-0.10, 0.99), (-0.12, 0.98), (-0.06, 0.98)),
)


def standing(x: float, y: float, height: float, wave: float = 0.0) -> Any:
    """A pose (133, 3) of a figure `height` pixels tall whose head is above (x, y + height); the arms swing by `wave`
    radians about the shoulders."""
    pose = np.ones((COUNT, 3), np.float32)
    pose[: len(_STANDING), :2] = _STANDING
    for shoulder, arm, turn in ((5, (7, 9), -wave), (6, (8, 10), wave)):
        pivot = pose[shoulder, :2].copy()
        spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        for joint in arm:
            pose[joint, :2] = pivot + spin @ (pose[joint, :2] - pivot)
    round_ = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    pose[FACE, :2] = pose[0, :2] + 0.05 * np.stack([np.cos(round_), np.sin(round_)], 1)
    for hand, wrist in ((LEFT_HAND, 9), (RIGHT_HAND, 10)):
        pose[hand, :2] = pose[wrist, :2] + _hand()
    pose[:, :2] = pose[:, :2] * height + (x, y)
    return pose


def _hand() -> Any:
    """21 points: the wrist, then five fingers of four joints, fanned out downwards."""
    points = [(0.0, 0.0)]
    for finger in range(5):
        angle = np.pi / 2 + (finger - 2) * 0.35
        points += [(0.015 * joint * np.cos(angle), 0.015 * joint * np.sin(angle)) for joint in range(1, 5)]
    return np.array(points)


def box_of(pose: Any, score: float = 0.9) -> Box:
    """The box around a pose, with the air that detectors leave."""
    (left, top), (right, bottom) = pose[:, :2].min(0) - 8, pose[:, :2].max(0) + 8
    return Box(float(left), float(top), float(right), float(bottom), score)


class Sees:
    """In place of the detector and the pose network: what is in each frame, written down. Asked once for each."""

    def __init__(self, frames: list[list[Any]]) -> None:
        self._frames = frames
        self._at = -1

    def people(self, _: Any) -> list[Box]:
        self._at += 1
        return sorted((box_of(pose) for pose in self._frames[self._at]), key=lambda box: -box.area)

    def pose(self, _: Any, person: Box) -> Any:
        seen = next(figures for figures in reversed(self._frames[: self._at + 1]) if figures)
        return min(seen, key=lambda pose: abs(box_of(pose).left - person.left))


def shot(path: Path, poses: list[list[Any]], width: int, height: int, grounds: list[int] | None = None) -> Path:
    """A clip of figures made of discs. grounds: the grey behind each frame, when it changes (a cut)."""
    from PIL import Image, ImageDraw

    with av.open(str(path), "w") as box:
        video = box.add_stream("ffv1", rate=Fraction(16))
        video.width, video.height, video.pix_fmt = width, height, "bgr0"
        for number, figures in enumerate(poses):
            ground = 120 if grounds is None else grounds[number]
            picture = Image.new("RGB", (width, height), (ground, ground, ground))
            pen = ImageDraw.Draw(picture)
            for pose in figures:
                for x, y, _ in pose[:23]:
                    pen.ellipse((x - 6, y - 6, x + 6, y + 6), fill=(180, 90, 60))
                x, y = pose[0, :2]
                pen.ellipse((x - 16, y - 18, x + 16, y + 18), fill=(230, 190, 160))
            box.mux(video.encode(av.VideoFrame.from_image(picture).reformat(format="bgr0")))
        box.mux(video.encode(None))
    return path
