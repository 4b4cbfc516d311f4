"""Files that people really have, each of which was once taken wrongly: what is kept of them, as a render reads it."""

import io
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farm.config import IntakeSettings
from farm.intake.check import check
from farm.intake.media import Media
from farm.jobs.errors import InvalidRequest
from farm.jobs.inputs import Kind
from models.media import clips, pictures

CASES = Path(__file__).parents[2] / "data" / "cases"
RED, GREEN, WHITE = (200, 40, 40), (40, 200, 40), (255, 255, 255)


def data_of(name: str) -> bytes:
    path = CASES / name
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def kept(name: str, kind: Kind, folder: Path) -> tuple[Media, Path]:
    path = folder / "kept"
    made = check(io.BytesIO(data_of(name)), kind, IntakeSettings())
    with made.file as file:
        path.write_bytes(file.read())
    return made.media, path


def near(pixel: Any, expected: tuple[int, int, int], within: int = 8) -> bool:
    return bool(np.abs(np.asarray(pixel, int) - expected).max() <= within)


@pytest.mark.parametrize(
    ("name", "sound", "note"),
    [
        ("01-surround-kills-engine/input.mp4", True, "sound of 8 channels was mixed down to stereo"),
        # decoding it crashes the process that does so
        ("01-surround-kills-engine/input-pcm.mov.xz", False, "its sound cannot be read here, and was left out"),
        ("02-second-sound-track-unknown/input.mov", True, "a sound track (a codec that is not known here)"),
        ("03-torn-sound/input.mp4", True, "3 damaged pieces of the sound became silence"),
        ("03-torn-sound/input-16.mov.xz", True, "sound of 16 channels was mixed down to stereo"),
        ("11-matroska-longer-sound/input.mkv", True, None),
    ],
)
def test_sound_that_is_odd_costs_nobody_the_picture(tmp_path: Path, name: str, sound: bool, note: str | None) -> None:
    media, path = kept(name, Kind.CLIP, tmp_path)
    facts = clips.probe(path)
    assert facts.sound == sound
    assert len(list(clips.read(path))) == media.frames
    assert len(media.notes) == (note is not None)
    assert (note or "") in "".join(media.notes)


def test_a_motion_photo_is_its_picture(tmp_path: Path) -> None:
    media, path = kept("04-motion-photo/input.jpg", Kind.PICTURE, tmp_path)
    assert (media.width, media.height) == (160, 100)
    assert near(pictures.read(path).getpixel((10, 10)), RED)


def test_a_png_with_a_long_text_is_its_picture(tmp_path: Path) -> None:
    _, path = kept("05-png-long-text/input.png", Kind.PICTURE, tmp_path)
    assert near(pictures.read(path).getpixel((10, 10)), RED)


def test_a_picture_is_turned_whatever_else_its_exif_says(tmp_path: Path) -> None:
    """Orientation 6: what the file has bottom left is seen top left."""
    media, path = kept("06-exif-that-cannot-be-rewritten/input.jpg", Kind.PICTURE, tmp_path)
    assert (media.width, media.height) == (96, 96)
    assert near(pictures.read(path).getpixel((10, 10)), (40, 40, 200))


def test_a_colour_profile_is_applied(tmp_path: Path) -> None:
    _, path = kept("07-colour-profile-ignored/input.jpg", Kind.PICTURE, tmp_path)
    assert near(pictures.read(path).getpixel((10, 10)), GREEN)


def test_pixels_that_are_not_square_are_drawn_as_they_are_seen(tmp_path: Path) -> None:
    media, path = kept("08-wide-pixels/input.mp4", Kind.CLIP, tmp_path)
    assert (media.width, media.height) == (192, 108)
    assert next(clips.read(path)).shape == (108, 192, 3)


def test_a_mirrored_clip_is_mirrored(tmp_path: Path) -> None:
    _, path = kept("09-mirrored-clip/input.mp4", Kind.CLIP, tmp_path)
    assert near(next(clips.read(path))[10, 10], GREEN)


@pytest.mark.parametrize("name", ["input.mp4", "input-pq.mp4"], ids=["HLG", "PQ"])
def test_reference_white_stays_white_and_red_red(tmp_path: Path, name: str) -> None:
    media, path = kept(f"10-hdr-clip-greyed/{name}", Kind.CLIP, tmp_path)
    frame = next(clips.read(path))
    assert near(frame[64, 64], WHITE, 15)
    assert near(frame[10, 10], RED)
    assert media.notes == ()


def test_a_browsers_recording_has_as_many_frames_as_were_recorded(tmp_path: Path) -> None:
    media, path = kept("12-browser-recording/input.webm", Kind.CLIP, tmp_path)
    assert (media.frames, len(list(clips.read(path)))) == (30, 30)
    assert media.seconds == pytest.approx(2.0, abs=0.1)


def test_a_codec_that_is_not_listed_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Windows Media Video 8, which is not taken; encode it again"):
        kept("23-codec-list-not-kept/input.mkv", Kind.CLIP, tmp_path)
