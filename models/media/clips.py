"""Clips that a render starts from: upright frames at a constant rate, whatever the file's own timing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from models.planning.frame_rate import slack_s, steady
from models.planning.request import RenderFault


@dataclass(frozen=True)
class ClipFacts:
    """width and height as it is seen (after rotation), fps as it is read, start_s of the first frame on the file's
    clock, whether there is sound, and about how many frames there are (what the file says of its length)."""

    width: int
    height: int
    fps: Fraction
    start_s: Fraction
    sound: bool
    about: int


def probe(path: str | Path) -> ClipFacts:
    """What a clip is, from its first frame. RenderFault invalid_input when there is no picture in it."""
    with _opened(path) as box:
        stream = box.streams.video[0]
        for frame in box.decode(stream):
            turned = _turns(frame) % 2 == 1
            sides = (frame.height, frame.width) if turned else (frame.width, frame.height)
            rate, long_s = _rate(stream), (box.duration or 0) / 1_000_000
            return ClipFacts(*sides, rate, _time(frame), bool(box.streams.audio), max(1, round(long_s * rate)))
    raise RenderFault("invalid_input", "the clip has no frame")


def read(path: str | Path, fps: Fraction | float | None = None, most: int | None = None) -> Iterator[Any]:
    """The clip's frames at `fps` (its own when None): uint8 (H, W, 3) RGB, upright, at constant intervals.

    Each is the file's frame nearest in time, so a clip of constant rate read at its own rate gives every frame once.
    RenderFault invalid_input when it cannot be decoded, or has more than `most` frames.
    """
    with _opened(path) as box:
        stream = box.streams.video[0]
        rate = Fraction(fps) if fps is not None else _rate(stream)
        for number, frame in enumerate(_paced(box.decode(stream), rate, _rate(stream))):
            if most is not None and number >= most:
                raise RenderFault("invalid_input", f"the clip has more than {most} frames at {float(rate):g} fps")
            yield _upright(frame)


def _paced(frames: Iterable[Any], rate: Fraction, own_rate: Fraction) -> Iterator[Any]:
    """One of the source's frames for each tick of `rate`: the nearest in time."""
    slack = slack_s(own_rate, rate)
    tick, first, last = 0, None, None
    for frame in frames:
        first = _time(frame) if first is None else first
        now = _time(frame) - first
        while last is not None and tick / rate < now - slack:
            yield last
            tick += 1
        last, end = frame, now + 1 / own_rate
    while last is not None and tick / rate < end - slack:
        yield last
        tick += 1


def _opened(path: str | Path) -> Any:
    import av

    try:
        box = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise RenderFault("invalid_input", f"the clip cannot be read: {type(error).__name__}") from error
    if not box.streams.video:
        box.close()
        raise RenderFault("invalid_input", "the clip has no picture, only sound")
    box.streams.video[0].thread_type = "AUTO"
    return box


def _rate(stream: Any) -> Fraction:
    rate = Fraction(stream.average_rate or stream.guessed_rate or 0)
    if rate <= 0:
        raise RenderFault("invalid_input", "the clip does not tell its frame rate")
    return steady(rate)


def _time(frame: Any) -> Fraction:
    return frame.pts * frame.time_base if frame.pts is not None else Fraction(0)


def _turns(frame: Any) -> int:
    """Quarter turns, counter-clockwise, that make the frame upright: phones film sideways and say so."""
    return round(frame.rotation / 90) % 4


def _upright(frame: Any) -> Any:
    import numpy as np

    pixels = frame.to_ndarray(format="rgb24")
    turns = _turns(frame)
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
