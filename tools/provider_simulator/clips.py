"""Small valid MP4s, made once per shape."""

import os
from pathlib import Path

from tools.provider_simulator.task import ClipShape


def clip(folder: Path, shape: ClipShape) -> Path:
    """The file of a clip of this shape: a square that moves over a grey ground."""
    path = folder / f"{shape.width}x{shape.height}-{shape.frames}-{shape.fps}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.{id(shape)}.part")
        _write(part, shape)
        part.replace(path)
    return path


def _write(path: Path, shape: ClipShape) -> None:
    # most of the time of a start, and of no use until somebody fetches a clip
    import av
    import numpy as np

    side = max(2, shape.height // 6)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=shape.fps, options={"preset": "ultrafast", "crf": "35", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = shape.width, shape.height, "yuv420p"
        for number in range(shape.frames):
            picture = np.full((shape.height, shape.width, 3), 90, np.uint8)
            left = (shape.width - side) * number // max(1, shape.frames - 1)
            picture[side : 2 * side, left : left + side] = (220, 60 + number % 100, 40)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
