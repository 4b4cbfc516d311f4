"""A model draws in steps of 16 or 32 pixels; a clip may have any even size. So the next larger canvas is drawn, and its
middle becomes the clip: inputs are placed there, and what was drawn is cut out of there."""

from dataclasses import replace
from typing import Any

from models import catalog
from models.catalog import Model
from models.media import pictures
from models.planning.request import RenderRequest


def on_canvas(model: Model, request: RenderRequest) -> RenderRequest:
    """The request with the size that is drawn; the same where that is the size asked."""
    asked = request.width, request.height
    width, height = catalog.canvas(model, *asked)
    return request if (width, height) == asked else replace(request, width=width, height=height, shown=asked)


def placed(picture: Any, request: RenderRequest) -> Any:
    """A PIL image on the request's canvas: it covers what is shown, exactly; its edge goes on into the margin."""
    covering = pictures.cover(picture, *(request.shown or (request.width, request.height)))
    if request.shown is None:
        return covering
    import numpy as np
    from PIL import Image

    pixels = np.asarray(covering)
    left, top = _corner(request.shown, (request.width, request.height))
    right, below = request.width - left - pixels.shape[1], request.height - top - pixels.shape[0]
    margins = ((top, below), (left, right), *((0, 0) for _ in pixels.shape[2:]))
    return Image.fromarray(np.pad(pixels, margins, mode="edge"))


def cut_out(frames: Any, width: int, height: int) -> Any:
    """The middle of frames (T, H, W, 3), as a view."""
    left, top = _corner((width, height), (frames.shape[2], frames.shape[1]))
    return frames[:, top : top + height, left : left + width]


def _corner(shown: tuple[int, int], whole: tuple[int, int]) -> tuple[int, int]:
    """(left, top) of the middle of a canvas; sizes are (width, height)."""
    return (whole[0] - shown[0]) // 2, (whole[1] - shown[1]) // 2
