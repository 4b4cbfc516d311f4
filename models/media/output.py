"""The files of a finished render: an H.264 file with its recipe inside, and the checks that refuse rubbish.

Two calls with the same frames write the same bytes (fixed threads, no times) with the same libav and x264.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from models.media.poster import BLACK
from models.media.sound import Sound
from models.planning.request import RenderFault

#: libx264's own defaults would depend on the machine's cores
_X264 = {
    "crf": "16",
    "preset": "medium",
    "threads": "2",
    "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709:threads=2",
}
#: the number of BT.709 in the tables of primaries, transfers and matrices
_BT709 = 1


def to_bytes(video: Any) -> Any:
    """Float frames in [0, 1], a torch tensor (T, 3, H, W), to a uint8 array (T, H, W, 3).

    Raises RenderFault bad_output when a number is not finite: the weights or the device's memory are spoilt.
    """
    import torch

    if not bool(torch.isfinite(video).all()):
        raise RenderFault("bad_output", "the model produced numbers that are not finite (NaN)", poisoned=True)
    return (video.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def check_visible(frames: Any) -> None:
    """Raises RenderFault bad_output when every frame is black."""
    if all(int(frame.max()) < BLACK for frame in frames):
        raise RenderFault("bad_output", "every frame is black", poisoned=True)


def frames_sha256(frames: Any) -> str:
    """Hash of the pixels themselves, before any encoder: shape, then bytes."""
    digest = hashlib.sha256(json.dumps(list(frames.shape)).encode())
    for frame in frames:
        digest.update(frame.tobytes())
    return digest.hexdigest()


def write_video(
    path: Path,
    frames: Any,
    fps: int | Fraction,
    recipe: Mapping[str, Any],
    each: Callable[[int], None] = lambda _: None,
    *,
    sound: Callable[[Any], Sound] | None = None,
) -> None:
    """uint8 frames (T, H, W, 3) to an MP4 with the recipe in its `comment`. `each` is called with frames done.

    sound       makes the Sound for the opened container
    """
    import av
    import numpy as np

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as box:
        box.metadata["comment"] = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
        box.metadata["title"] = str(recipe.get("prompt", ""))[:200]
        stream = box.add_stream("libx264", rate=Fraction(fps), options=_X264)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        # x264 writes them into the pictures; players that read the container alone look for them there
        colour = stream.codec_context
        colour.color_primaries = colour.color_trc = colour.colorspace = _BT709
        colour.color_range = av.video.reformatter.ColorRange.MPEG
        track = sound(box) if sound is not None else None
        lead_s = track.lead_s if track is not None else Fraction(0)
        # a tick of one frame unless the picture begins somewhere between two ticks
        tick_s = 1 / Fraction(fps) if not lead_s else 1 / Fraction(Fraction(fps).numerator * 100)
        stream.codec_context.time_base = tick_s
        for done, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            # without this the conversion takes BT.601 and every player shows other colours than were rendered
            picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
            now_s = lead_s + Fraction(done) / fps
            picture.pts, picture.time_base = round(now_s / tick_s), tick_s
            for packet in stream.encode(picture):
                box.mux(packet)
            if track is not None:
                track.until(now_s)
            each(done + 1)
        for packet in stream.encode():
            box.mux(packet)
        if track is not None:
            track.finish()


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe that travels inside an MP4. ValueError when there is none."""
    import av

    with av.open(str(path)) as box:
        text = box.metadata.get("comment", "")
    try:
        recipe = json.loads(text)
    except ValueError:
        recipe = None
    if not isinstance(recipe, dict) or "model" not in recipe:
        raise ValueError(f"{path.name} carries no recipe")
    return recipe
