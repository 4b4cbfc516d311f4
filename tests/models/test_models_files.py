"""The files of a result: what players, editors and galleries read in them. And pictures in every form that cameras and
painters write, as a render starts from them."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from model_parts import decoded
from PIL import Image

from models.media import output, pictures, poster


def test_container_and_pictures_say_the_same_about_colour_rate_and_length(tmp_path: Path) -> None:
    frames = np.full((48, 64, 96, 3), 90, np.uint8)
    output.write_video(tmp_path / "v.mp4", frames, Fraction(24000, 1001), {"model": "m"})
    with av.open(str(tmp_path / "v.mp4")) as box:
        stream = box.streams.video[0]
        assert (stream.average_rate, stream.frames) == (Fraction(24000, 1001), 48)
        assert stream.duration * stream.time_base == 48 / Fraction(24000, 1001)
        frame = next(box.decode(stream))
        colour = stream.codec_context
        for found in (colour, frame):
            assert (found.color_primaries, found.color_trc, found.colorspace, found.color_range) == (1, 1, 1, 1)
    data = (tmp_path / "v.mp4").read_bytes()
    assert data[data.index(b"colrnclx") + 8 :][:7] == bytes([0, 1, 0, 1, 0, 1, 0])  # BT.709 three times, video range


@pytest.mark.parametrize("prompt", ['a fox\nin "snow"; = # \\', "ein Füchslein 狐 🎬", "x" * 5000, "a\x00b"])
def test_the_recipe_in_the_file_is_every_word(tmp_path: Path, prompt: str) -> None:
    made = {"model": "m", "prompt": prompt, "seed": 2**63 - 1, "shift": 5.0}
    output.write_video(tmp_path / "v.mp4", np.full((5, 32, 32, 3), 90, np.uint8), 8, made)
    assert output.read_recipe(tmp_path / "v.mp4") == made
    assert len(decoded(tmp_path / "v.mp4")) == 5


def test_the_poster_shows_something_when_only_the_ends_do(tmp_path: Path) -> None:
    frames = np.zeros((41, 48, 48, 3), np.uint8)
    frames[2] = 128
    assert poster.write_poster(tmp_path / "p.jpg", frames) == 2
    assert np.asarray(Image.open(tmp_path / "p.jpg")).min() > 100
    frames[38, :24] = 250
    assert poster.write_poster(tmp_path / "p.jpg", frames) == 38


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


RED, BLACK = (200, 30, 40), (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "make", "saved", "corner"),
    [
        ("cmyk.jpg", lambda p: p.convert("CMYK"), {"quality": 100, "subsampling": 0}, RED),
        ("palette.png", lambda p: p.quantize(), {}, RED),
        ("clear palette.png", lambda p: p.quantize(), {"transparency": 0}, None),
        ("alpha.webp", lambda p: Image.merge("RGBA", (*p.split(), Image.new("L", p.size, 0))), {}, BLACK),
        ("grey alpha.png", lambda p: Image.merge("LA", (p.getchannel(0), Image.new("L", p.size, 255))), {}, (200,) * 3),
        ("16 bits.png", lambda p: Image.fromarray(np.asarray(p.getchannel(0)).astype(np.uint16) * 257), {}, (200,) * 3),
        ("1 bit.png", lambda p: p.convert("1", dither=Image.Dither.NONE), {}, BLACK),
    ],
)
def test_a_picture_is_what_a_viewer_shows(
    tmp_path: Path, name: str, make: Any, saved: dict[str, Any], corner: tuple[int, ...] | None
) -> None:
    picture = Image.new("RGB", (40, 24), RED)
    picture.paste((20, 90, 220), (20, 0, 40, 24))
    make(picture).save(tmp_path / name, **saved)
    read = pictures.read(tmp_path / name)
    assert (read.mode, read.size) == ("RGB", (40, 24))
    assert read.getpixel((3, 3)) != read.getpixel((36, 3)) or corner == BLACK
    if corner is not None:
        assert read.getpixel((3, 3)) == pytest.approx(corner, abs=2)


@pytest.mark.parametrize(("turn", "red"), [(1, (3, 3)), (3, (36, 20)), (6, (20, 3)), (8, (3, 36)), (2, (36, 3))])
def test_a_picture_stands_as_its_exif_says(tmp_path: Path, turn: int, red: tuple[int, int]) -> None:
    picture = Image.new("RGB", (40, 24))
    picture.paste(RED, (0, 0, 10, 8))
    picture.save(tmp_path / "p.png", exif=_exif(turn))
    read = pictures.read(tmp_path / "p.png")
    assert read.size == ((24, 40) if turn in (6, 8) else (40, 24))
    assert read.getpixel(red) == RED


def test_a_picture_of_another_aspect_loses_its_sides_evenly() -> None:
    """Twice as wide as the clip: the middle half is left, to the pixel, and nothing is stretched."""
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[..., 0] = np.arange(128)
    assert (np.asarray(pictures.cover(Image.fromarray(wide), 64, 64))[..., 0] == np.arange(32, 96)).all()
    high = np.ascontiguousarray(wide.transpose(1, 0, 2))
    assert (np.arange(32, 96) == np.asarray(pictures.cover(Image.fromarray(high), 64, 64))[..., 0].T).all()
