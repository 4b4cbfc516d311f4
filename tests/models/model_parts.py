"""What the tests of this room share: the tiny models' ids, requests, pictures, and reading videos back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.request import RenderRequest, RenderResult

T2V = "wan2.2-t2v-a14b-tiny"
I2V = "wan2.2-i2v-a14b-tiny"
TI2V = "wan2.2-ti2v-5b-tiny"

Render = Callable[..., RenderResult]


def draw(path: Path, width: int, height: int, seed: int = 0) -> Path:
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([(x * 3 + seed * 40) % 256, (y * 3) % 256, (x + y + seed * 90) % 256], -1)
    Image.fromarray(pixels.astype("uint8")).save(path)
    return path


def request_for(out_dir: Path, model: str = T2V, task: str = "t2v", **changes: Any) -> RenderRequest:
    """A small render of `model`: 64x64, 9 frames, 4 steps."""
    two_experts = "a14b" in model
    out_dir.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "prompt": "a red fox runs through snow",
        "negative_prompt": "blurry",
        "width": 64,
        "height": 64,
        "frames": 9,
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
    import av
    import numpy as np

    with av.open(str(path)) as box:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in box.decode(video=0)])
