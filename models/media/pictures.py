"""Pictures, read in one way by everybody: upright, 8-bit sRGB, as a viewer shows them; and brought to a clip's size.

Intake reads what tenants send with it, in a child process; a render reads what intake made of that.
"""

import io
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from models.media.png import essentials
from models.planning.request import RenderFault

_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class SeenPicture:
    """picture: RGB; unknown: what of the file could not be honoured, in words for its owner."""

    picture: Any
    unknown: tuple[str, ...] = ()


def read(path: str | Path) -> Any:
    """The picture as an RGB PIL image, as it is seen; transparency becomes black.

    Raises RenderFault invalid_input when it cannot be decoded.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Path(path).open("rb") as file:
            return seen(file).picture
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RenderFault("invalid_input", "the picture is broken or cut off") from error


def seen(
    file: BinaryIO, forms: Collection[str] | None = None, check: Callable[[Any], None] = lambda _: None
) -> SeenPicture:
    """Decode a picture of one of Pillow's forms. `check` is shown it before a pixel is decoded, and may raise.

    Raises what Pillow raises.
    """
    from PIL import Image

    if file.read(len(_PNG)) == _PNG:
        file.seek(0)
        file = io.BytesIO(essentials(file.read()))
    file.seek(0)
    with Image.open(file, formats=None if forms is None else list(forms)) as picture:
        check(picture)
        picture.load()
        profile = picture.info.get("icc_profile")
        upright = _upright(picture, _orientation(picture))
    colours, odd = _srgb(_solid(upright), profile)
    return SeenPicture(colours, (odd,) if odd else ())


def cover(picture: Any, width: int, height: int) -> Any:
    """Resize so that width x height is covered, then cut the middle out: nothing is stretched, no bars are added."""
    from PIL import Image, ImageOps

    if picture.size == (width, height):
        return picture
    return ImageOps.fit(picture, (width, height), method=Image.Resampling.LANCZOS, centering=(0.5, 0.5))


def _orientation(picture: Any) -> int:
    """1 to 8, as EXIF counts; 1 where it cannot be read."""
    try:
        told = picture.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, struct.error):
        # a picture is shown whatever its EXIF is worth
        return 1
    return told if isinstance(told, int) and 1 <= told <= 8 else 1


def _upright(picture: Any, orientation: int) -> Any:
    """Turned and mirrored by hand: Pillow's own way writes the EXIF anew, which fails where that is odd."""
    from PIL import Image

    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    return picture.copy() if turn is None else picture.transpose(turn)


def _solid(picture: Any) -> Any:
    """8 bits a channel, without transparency: what is behind it is black."""
    from PIL import Image

    if picture.mode.startswith(("I", "F")):
        # 16-bit grey; converted as it is, everything above 255 would be white
        picture = picture.convert("I").point(lambda value: value / 257).convert("L")
    if picture.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in picture.info:
        solid = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        solid.alpha_composite(picture.convert("RGBA"))
        return solid.convert("RGB")
    # a profile of print colours or of grey is about the numbers as they are
    return picture if picture.mode in ("RGB", "L", "CMYK") else picture.convert("RGB")


def _srgb(picture: Any, profile: bytes | None) -> tuple[Any, str | None]:
    """(RGB of sRGB, what is not honoured)."""
    from PIL import ImageCms

    if not profile:
        return picture.convert("RGB"), None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space)
        if mode is None or (mode == "CMYK") != (picture.mode == "CMYK"):
            return picture.convert("RGB"), f"its colour profile is about {space or 'other'} colours, and was left out"
        shown = ImageCms.profileToProfile(
            picture.convert(mode),
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture.convert("RGB"), "its colour profile cannot be used, and was left out"
    return shown, None
