"""Pictures that a render starts from: read whole, upright, and brought to the clip's size."""

from pathlib import Path
from typing import Any

from models.planning.request import RenderFault


def read(path: str | Path) -> Any:
    """The picture as an RGB PIL image, turned as its EXIF says; transparency becomes black.

    Raises RenderFault invalid_input when it cannot be decoded.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            file.load()
            upright = ImageOps.exif_transpose(file)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise RenderFault("invalid_input", f"the picture cannot be read: {type(error).__name__}") from error
    if upright.mode.startswith("I;16"):
        # converted as it is, everything above 255 would be white
        upright = upright.convert("I").point(lambda value: value / 257).convert("L")
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        solid = Image.new("RGBA", upright.size, (0, 0, 0, 255))
        solid.alpha_composite(upright.convert("RGBA"))
        upright = solid
    return upright.convert("RGB")


def cover(picture: Any, width: int, height: int) -> Any:
    """Resize so that width x height is covered, then cut the middle out: nothing is stretched, no bars are added."""
    from PIL import Image, ImageOps

    if picture.size == (width, height):
        return picture
    return ImageOps.fit(picture, (width, height), method=Image.Resampling.LANCZOS, centering=(0.5, 0.5))
