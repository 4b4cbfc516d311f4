"""Clips of every kind, by container, codec, turn, pixel aspect, rate, colour and sound: what a render is given of each
is what was drawn."""

import io
from dataclasses import astuple
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_matrix import (
    ASPECTS,
    BLUE,
    FRAMES,
    GREEN,
    HDR,
    HEIGHT,
    RATES,
    RED,
    SOUNDS,
    WIDTH,
    Kind,
    encoded,
    matrix,
    shade,
)

from farm.intake import clip_rendition
from farm.intake.media import HEAD, form_of
from farm.jobs.inputs import Kind as Wanted
from models.media import clips

MATRIX = matrix()


def _in_every_run() -> set[Kind]:
    """So many of them that every value of every column is there; in a soak every pair of two is."""
    chosen, seen = set[Kind](), set[tuple[int, str]]()
    for kind in MATRIX:
        values = set(enumerate(astuple(kind)))
        if not values <= seen:
            chosen.add(kind)
            seen |= values
    return chosen


SOME = _in_every_run()
#: of 255; the table that converts HDR is coarse where one colour of a pixel is nearly dark
NEAR, NEAR_HDR = 7, 16


def expected_frames(kind: Kind) -> list[int]:
    """Numbers of the drawn frames, one for each that is rendered."""
    rate, ticks = RATES[kind.rate]
    if ticks is None:
        return list(range(0, FRAMES, 2 if rate > 60 else 1))
    if kind.rate == "one dropped":
        return [max(n for n in range(FRAMES) if ticks[n] <= tick) for tick in range(ticks[-1] + 1)]
    # as many frames as there are, at their mean rate
    return [0, *([-1] * (FRAMES - 2)), FRAMES - 1]


def quarters(frame: Any) -> Any:
    """Mean colour in the middle of each quarter: (4, 3)."""
    high, wide = frame.shape[0] // 2, frame.shape[1] // 2
    return np.array(
        [
            frame[y + high // 3 : y + high * 2 // 3, x + wide // 3 : x + wide * 2 // 3].mean(axis=(0, 1))
            for y in (0, high)
            for x in (0, wide)
        ]
    )


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, id="-".join(astuple(kind)), marks=() if kind in SOME else pytest.mark.soak) for kind in MATRIX],
)
def test_what_is_rendered_is_what_was_drawn(kind: Kind, tmp_path: Path) -> None:
    data = encoded(kind)
    path = tmp_path / "kept.mp4"
    asked = {"opens": form_of(data[:HEAD], Wanted.CLIP).opens, "max_s": 10, "max_pixels": 10**6, "sound": True}
    with path.open("w+b") as out:
        # not in its child, which would cost a second for each
        found = clip_rendition.keep(io.BytesIO(data), out, asked)
    facts, frames = clips.probe(path), list(clips.read(path))
    numbers = expected_frames(kind)
    assert (found["width"], found["height"]) == (facts.width, facts.height) == (WIDTH, HEIGHT)
    assert found["frames"] == facts.about == len(frames) == len(numbers)
    rate, ticks = RATES[kind.rate]
    mean = Fraction(FRAMES - 1) / ticks[-1] * rate if kind.rate == "changing" and ticks else rate
    assert float(facts.fps) == pytest.approx(float(mean / 2 if mean > 60 else mean), rel=0.003)
    near = NEAR_HDR if kind.colour in HDR else NEAR
    for at in (0, len(numbers) // 2, len(numbers) - 1):
        got = quarters(frames[at])
        assert np.abs(got[:3] - [RED, GREEN, BLUE]).max() < near, (at, got)
        if numbers[at] >= 0:
            assert np.abs(got[3] - shade(numbers[at])).max() < near, (at, got)
    assert facts.sound == (kind.sound != "none")
    assert found["notes"] == (["sound of 8 channels was mixed down to stereo"] if kind.sound == "aac 7.1" else [])


def test_every_value_is_in_the_matrix() -> None:
    assert {kind.sound for kind in SOME} == set(SOUNDS)
    assert {kind.aspect for kind in SOME} == set(ASPECTS)
    assert {kind.rate for kind in SOME} == set(RATES)
