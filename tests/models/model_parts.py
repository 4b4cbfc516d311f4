"""What the tests of this room share: the tiny models' ids, requests, pictures, and reading videos back."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from models.planning.request import RenderRequest, RenderResult

T2V = "wan2.2-t2v-a14b-tiny"
I2V = "wan2.2-i2v-a14b-tiny"
TI2V = "wan2.2-ti2v-5b-tiny"

#: of t2v and i2v where nothing else is asked: what a test costs
SIDE, FRAMES = 32, 5

Render = Callable[..., RenderResult]


def draw(path: Path, width: int, height: int, seed: int = 0) -> Path:
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([(x * 3 + seed * 40) % 256, (y * 3) % 256, (x + y + seed * 90) % 256], -1)
    Image.fromarray(pixels.astype("uint8")).save(path)
    return path


def request_for(out_dir: Path, model: str = T2V, task: str = "t2v", **changes: Any) -> RenderRequest:
    """A small render of `model`: 64x64, 9 frames, 4 steps; of the two that most tests take half as large."""
    two_experts = "a14b" in model
    side, frames = (SIDE, FRAMES) if model.startswith(("wan2.2-t2v-a14b", "wan2.2-i2v-a14b")) else (64, 9)
    out_dir.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "prompt": "a red fox runs through snow",
        "negative_prompt": "blurry",
        "width": side,
        "height": side,
        "frames": frames,
        "fps": 16,
        "steps": 4,
        "guidance": 4.0,
        "guidance_2": 3.0 if two_experts else None,
        "shift": 5.0,
        "seed": 1,
        **changes,
    }
    return RenderRequest(model=model, task=task, out_dir=str(out_dir), **values)


def decoded(path: str | Path) -> Any:
    """Every frame of a video file: uint8 (T, H, W, 3)."""
    with av.open(str(path)) as box:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in box.decode(video=0)])


def shade(number: int) -> int:
    return 40 + number * 6 % 180


def film(
    path: Path,
    count: int,
    fps: Fraction | int = 25,
    audio: str | None = None,
    late: bool = False,
    *,
    layout: str = "stereo",
    sound_late_s: float = 0.0,
    **stream: Any,
) -> Path:
    """A clip whose every frame has its own grey; with a sweep of sound when `audio` names a codec.

    late        the picture begins 0.4 s after the sound
    sound_late_s  the sound begins so much after the picture
    """
    with av.open(str(path), "w") as box:
        video = box.add_stream("libx264", rate=Fraction(fps), options={"crf": "1"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        track = box.add_stream(audio, rate=48000, **stream) if audio else None
        if track is not None:
            track.layout = layout
            channels = len(av.AudioLayout(layout).channels)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade(number), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number + (10 if late else 0), 1 / Fraction(fps)
            box.mux(video.encode(frame))
        if track is not None:
            rate, total = 48000, int(48000 * count / fps) + 777
            wave = (np.sin(np.arange(total) ** 1.4 / 300) * 12000).astype(np.int16)
            for start in range(0, total, 1024):
                part = av.AudioFrame.from_ndarray(
                    np.repeat(wave[start : start + 1024], channels)[None], format="s16", layout=layout
                )
                part.sample_rate, part.time_base = rate, Fraction(1, rate)
                part.pts = start + round(sound_late_s * rate)
                box.mux(track.encode(part))
            box.mux(track.encode(None))
        box.mux(video.encode(None))
    return path


def samples(path: Path, layout: str = "stereo") -> Any:
    """Every sample of the first sound track as float64 (channels, n), and the time of the first in seconds."""
    with av.open(str(path)) as box:
        resampler = av.AudioResampler(format="dblp", layout=layout, rate=48000)
        parts, start = [], None
        for frame in box.decode(audio=0):
            start = frame.time if start is None else start
            parts += [part.to_ndarray() for part in resampler.resample(frame)]
        return np.concatenate(parts, 1), start


def moving(
    path: Path, count: int, width: int, height: int, fps: Fraction | int, seed: int = 0, mask: bool = False
) -> Path:
    """A lossless clip of a pattern that moves; a mask is a white box that moves on black."""
    y, x = np.mgrid[0:height, 0:width]
    frames = []
    for number in range(count):
        shift = number * 2 + seed * 11
        pixels = np.stack([(x * 4 + shift) % 256, (y * 4 + shift) % 256, (x + y + shift * 3) % 256], -1)
        if mask:
            inside = (x > 8 + number) & (x < 30 + number) & (y > 10)
            pixels = np.repeat(np.where(inside, 255, 0)[..., None], 3, -1)
        frames.append(pixels)
    return lossless(path, np.stack(frames), fps)


def lossless(path: Path, frames: Any, fps: Fraction | int = 16) -> Path:
    """A clip of exactly these frames, 0 to 255, (T, H, W, 3)."""
    with av.open(str(path), "w") as box:
        video = box.add_stream("ffv1", rate=Fraction(fps))
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "bgr0"
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")
            box.mux(video.encode(frame.reformat(format="bgr0")))
        box.mux(video.encode(None))
    return path
