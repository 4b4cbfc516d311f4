"""Pictures: decoded whole once, so that a broken one is refused here and not on a GPU. Pillow is told the form; it
never guesses one."""

import io
from typing import BinaryIO

from PIL import Image, ImageOps

from farm.config import IntakeSettings
from farm.intake.media import Media
from farm.jobs.errors import InvalidRequest

#: pixels; a smaller side is a mistake, and an extreme shape makes absurd crops
MIN_SIDE = 16
MAX_ASPECT = 16.0
#: a progressive JPEG is decoded once per scan; cameras write about ten, an attacker thousands into a few bytes
MAX_SCANS = 64
_ORIENTATION = 0x0112
_UNREADABLE = "the picture is broken or cut off; save it again and send the whole file"


def inspect(file: BinaryIO, opens: str, content_type: str, limits: IntakeSettings) -> Media:
    """`opens` is Pillow's name of the form. Raises InvalidRequest."""
    if opens == "JPEG":
        _check_scans(file)
    file.seek(0)
    try:
        with Image.open(file, formats=[opens]) as picture:
            _check_shape(picture, limits)
            picture.load()
            width, height = picture.size
            if picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
                width, height = height, width
            deep = picture.mode.startswith(("I", "F"))
            return Media(content_type, width, height, replaced=_eight_bits(picture) if deep else None)
    except InvalidRequest:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_big(limits) from None
    except Exception as error:
        raise InvalidRequest(_UNREADABLE) from error


def _check_scans(file: BinaryIO) -> None:
    """Inside a scan every FF is followed by 00, so the marker of a scan cannot occur by chance."""
    file.seek(0)
    scans, last = 0, b""
    while block := file.read(1 << 20):
        scans += (last + block).count(b"\xff\xda")
        last = block[-1:] if block[-1:] == b"\xff" else b""
    if scans > MAX_SCANS:
        raise InvalidRequest(f"the JPEG has {scans} scans; save it again as a plain one")


def _check_shape(picture: Image.Image, limits: IntakeSettings) -> None:
    """What the header tells, before a single pixel is decoded."""
    width, height = picture.size
    # a phone's JPEG may carry a second picture (depth, gain map): that is no animation
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        raise InvalidRequest("the picture is animated; send a single picture")
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise _too_big(limits, f"{width}x{height} pixels are")
    if min(width, height) < MIN_SIDE:
        raise InvalidRequest(f"{width}x{height} pixels are too few; the shorter side needs {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InvalidRequest(f"{width}x{height} is too long a shape; crop it to {MAX_ASPECT:.0f}:1 or less")


def _too_big(limits: IntakeSettings, what: str = "the picture is") -> InvalidRequest:
    millions = limits.max_pixels / 1e6
    return InvalidRequest(
        f"{what} too large; {millions:g} million pixels and {limits.max_side} on a side are allowed. Make it smaller"
    )


def _eight_bits(picture: Image.Image) -> bytes:
    """A 16-bit grey picture scaled down as a PNG: converted as it is, everything above 255 would be white."""
    upright = ImageOps.exif_transpose(picture)
    out = io.BytesIO()
    upright.convert("I").point(lambda value: value / 257).convert("L").save(out, "PNG")
    return out.getvalue()
