import contextlib
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from farm.config import IntakeSettings
from farm.embedded import samples
from farm.intake.check import check
from farm.intake.media import Media
from farm.intake.picture_rendition import MAX_SCANS, keep
from farm.intake.refusal import Refused
from farm.jobs.errors import InvalidRequest
from farm.jobs.inputs import Kind, kind_of

LIMITS = IntakeSettings()


def look(data: bytes, limits: IntakeSettings = LIMITS) -> Media:
    made = check(io.BytesIO(data), Kind.PICTURE, limits)
    made.file.close()
    return made.media


def kept(data: bytes) -> Image.Image:
    """What the farm keeps of it."""
    with check(io.BytesIO(data), Kind.PICTURE, LIMITS).file as file:
        picture = Image.open(io.BytesIO(file.read()))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    return picture


def saved(picture: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def noise(width: int = 90, height: int = 60, mode: str = "RGB") -> Image.Image:
    return Image.effect_noise((width, height), 80).convert(mode)


@pytest.mark.parametrize(
    "data",
    [
        saved(noise(), "PNG"),
        saved(noise(mode="P"), "PNG"),
        saved(noise(mode="RGBA"), "PNG"),
        saved(noise(mode="LA"), "PNG"),
        saved(noise(mode="1"), "PNG"),
        saved(noise(), "JPEG"),
        saved(noise(), "JPEG", progressive=True),
        saved(noise(mode="L"), "JPEG"),
        saved(noise(mode="CMYK"), "JPEG"),
        saved(noise(), "WEBP"),
        saved(noise(mode="RGBA"), "WEBP", lossless=True),
        # a phone's JPEG with a second picture inside
        saved(noise(), "MPO", save_all=True, append_images=[noise()]),
    ],
)
def test_pictures_of_every_kind_are_taken(data: bytes) -> None:
    assert look(data) == Media("image/png", 90, 60)


def test_the_picture_that_ships_is_taken() -> None:
    assert look(samples.picture()) == Media("image/png", 960, 640)


@pytest.mark.parametrize(("orientation", "size"), [(1, (90, 60)), (3, (90, 60)), (6, (60, 90)), (8, (60, 90))])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_size_is_as_seen_not_as_stored(orientation: int, size: tuple[int, int], form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    media = look(saved(noise(), form, exif=exif))
    assert (media.width, media.height) == size


def test_sixteen_bit_grey_is_scaled_down_instead_of_going_white() -> None:
    deep = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    grey = np.asarray(kept(saved(Image.fromarray(deep), "PNG")))[..., 0]
    assert np.abs(grey.astype(float) - deep / 257).max() <= 1


FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (90, 60), "red")]}


def bomb_png(width: int, height: int) -> bytes:
    """A header that promises width x height, with a few bytes behind it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def many_scans(count: int) -> bytes:
    """A progressive JPEG with its last scan again and again."""
    data = saved(noise(), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * count + b"\xff\xd9"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty; send a PNG, JPEG or WebP picture"),
        (b"hello, world\n", "is a text file; send a PNG"),
        ("prosa auf Übersee ".encode() * 400, "is a text file"),
        (b"\x00\x01\x02" * 100, "is not a PNG, JPEG or WebP picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", "an SVG drawing; send"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<svg/>', "an SVG drawing"),
        (b"<!DOCTYPE html><html>login</html>", "a web page"),
        (b"%PDF-1.7", "a PDF"),
        (b"PK\x03\x04zip", "a ZIP"),
        (b"#EXTM3U\nhttp://10.0.0.1/", "a playlist"),
        (saved(noise(), "GIF", **FRAMES), "a GIF; send"),
        (saved(noise(mode="P"), "GIF"), "a GIF; send"),
        (saved(noise(), "BMP"), "a BMP picture; send"),
        (saved(noise(), "TIFF"), "a TIFF picture"),
        (saved(noise(), "AVIF"), "an AVIF picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "an MP4 video; send a PNG"),
        (saved(noise(), "PNG", **FRAMES), "animated; send a single picture"),
        (saved(noise(), "WEBP", **FRAMES), "animated"),
        (bomb_png(50_000, 50_000), "too large; 50 million pixels"),
        (bomb_png(20_000, 10), "20000x10 pixels are too large"),
        (bomb_png(10_000, 6_000), "10000x6000 pixels are too large"),
        (bomb_png(900, 900), "broken or cut off"),
        (saved(noise(8, 8), "PNG"), "too few"),
        (saved(noise(900, 40), "PNG"), "16:1"),
        (many_scans(MAX_SCANS + 1), "scans; save it again"),
        # the right first bytes, and nothing that fits behind them
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 100, "broken or cut off"),
        (b"\xff\xd8\xff\xe0" + b"hello" * 100, "broken or cut off"),
        (b"RIFF\xff\xff\x00\x00WEBPVP8 ", "broken or cut off"),
    ],
)
def test_anything_else_is_refused_with_what_to_do(data: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        look(data)
    assert says in raised.value.detail


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_cut_off_pictures_are_refused(form: str, part: float) -> None:
    data = saved(noise(300, 200), form)
    with pytest.raises(InvalidRequest, match="broken or cut off"):
        look(data[: int(len(data) * part)])


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    spoiled = bytearray(data)
    for at in rng.integers(0, len(data), 8):
        spoiled[at] ^= int(rng.integers(1, 256))
    return bytes(spoiled)


@pytest.mark.parametrize("make", [lambda: saved(noise(), "PNG"), lambda: saved(noise(), "JPEG", progressive=True)])
def test_spoiled_pictures_are_taken_or_refused_and_nothing_else(make: Callable[[], bytes]) -> None:
    """Not in the child, which would turn a defect of ours into a refusal."""
    rng = np.random.default_rng(7)
    data = make()
    asked = {"opens": "PNG" if data[0] == 0x89 else "JPEG", "max_pixels": 10**6, "max_side": 1000}
    for _ in range(150):
        with contextlib.suppress(Refused):
            keep(io.BytesIO(flip(data, rng)), io.BytesIO(), asked)


def test_a_profile_that_cannot_be_used_is_said() -> None:
    media = look(saved(noise(), "JPEG", icc_profile=b"no profile"))
    assert media.notes == ("of the picture: its colour profile cannot be used, and was left out",)


def test_limits_come_from_the_settings() -> None:
    with pytest.raises(InvalidRequest, match=r"0\.001 million"):
        look(saved(noise(), "PNG"), IntakeSettings(max_pixels=1000))
    with pytest.raises(InvalidRequest, match="80 on a side"):
        look(saved(noise(), "PNG"), IntakeSettings(max_side=80))


def test_roles_tell_their_kind() -> None:
    assert [kind_of(role) for role in ("image", "last_image", "mask", "video", "pose_video", "audio")] == [
        *[Kind.PICTURE] * 3,
        *[Kind.CLIP] * 2,
        Kind.SOUND,
    ]
