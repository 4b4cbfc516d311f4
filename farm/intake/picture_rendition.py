"""A picture as the farm keeps it: PNG, upright, 8-bit sRGB, no larger than is of use. Runs in farm.intake.decoder;
Pillow gets the format as an argument and guesses none."""

from typing import Any, BinaryIO

from PIL import Image

from farm.intake.jpeg_scans import scans
from farm.intake.refusal import Refused, broken
from models.media import pictures

#: pixels; a smaller side is a mistake, and an extreme shape makes absurd crops
MIN_SIDE = 16
MAX_ASPECT = 16.0
#: a progressive JPEG is decoded once per scan; cameras write about ten, an attacker thousands into a few bytes
MAX_SCANS = 64
#: pixels of the longer side that is kept: twice what any model renders
MAX_KEPT_SIDE = 2560


def keep(source: BinaryIO, out: BinaryIO, asked: dict[str, Any]) -> dict[str, Any]:
    """Write the picture to `out`; what it is. Raises Refused."""
    if asked["opens"] == "JPEG" and (count := scans(source)) > MAX_SCANS:
        raise Refused(f"the JPEG has {count} scans; save it again as a plain one")
    source.seek(0)
    try:
        found = pictures.seen(source, [asked["opens"]], lambda picture: _check_shape(picture, asked))
    except (Refused, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_big("the picture is", asked) from None
    except Exception as error:
        raise broken("picture") from error
    picture = found.picture
    picture.thumbnail((MAX_KEPT_SIDE, MAX_KEPT_SIDE), Image.Resampling.LANCZOS)
    # speed over size: it is read once or twice, over the local network
    picture.save(out, "PNG", compress_level=1)
    return {
        "width": picture.width,
        "height": picture.height,
        "notes": [f"of the picture: {odd}" for odd in found.unknown],
    }


def _check_shape(picture: Image.Image, asked: dict[str, Any]) -> None:
    """What the header says, before a single pixel is decoded."""
    width, height = picture.size
    # a phone's JPEG may carry a second picture (depth, gain map): that is no animation
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        raise Refused("the picture is animated; send a single picture")
    if width * height > asked["max_pixels"] or max(width, height) > asked["max_side"]:
        raise _too_big(f"{width}x{height} pixels are", asked)
    if min(width, height) < MIN_SIDE:
        raise Refused(f"{width}x{height} pixels are too few; the shorter side needs {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Refused(f"{width}x{height} is too long a shape; crop it to {MAX_ASPECT:.0f}:1 or less")


def _too_big(what: str, asked: dict[str, Any]) -> Refused:
    millions = asked["max_pixels"] / 1e6
    return Refused(
        f"{what} too large; {millions:g} million pixels and {asked['max_side']} on a side are allowed. Make it smaller"
    )
