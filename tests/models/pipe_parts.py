"""Pipelines of every kind on tiny weights, and what they draw: for tests of what is set on a pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from model_parts import T2V
from PIL import Image

from models.weights import tiny

STEPS = 12
CPU = torch.device("cpu")

#: kind of pipeline -> (model, task)
KINDS = {
    "t2v": (T2V, "t2v"),
    "i2v": ("wan2.2-i2v-a14b-tiny", "i2v"),
    "ti2v-t2v": ("wan2.2-ti2v-5b-tiny", "t2v"),
    "ti2v-i2v": ("wan2.2-ti2v-5b-tiny", "i2v"),
    "vace": ("wan2.2-vace-fun-a14b-tiny", "vace"),
    "animate": ("wan2.2-animate-14b-tiny", "animate"),
}


def latents(pipe: Any, kind: str, guidance: float = 4.0, steps: int = STEPS) -> Any:
    """What the pipeline draws, before it is decoded; of Animate the frames."""
    picture = Image.fromarray(np.random.RandomState(0).randint(0, 255, (32, 32, 3), dtype=np.uint8))
    more: dict[str, Any] = {"num_frames": 5}
    if kind.endswith("i2v"):
        more["image"] = picture
    if kind == "vace":
        more |= {"video": [picture] * 5, "mask": [Image.new("L", (32, 32), 255)] * 5}
    if kind == "animate":
        guides = [picture] * 5
        more = {"image": picture, "pose_video": guides, "face_video": guides, "segment_frame_length": 5}
    made = pipe(
        prompt="a red fox",
        height=32,
        width=32,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
        **more,
    ).frames
    return torch.as_tensor(np.asarray(made))


def tiny_pipe(models_dir: Path, model: str = T2V) -> Any:
    """A pipeline of the test's own, to be changed."""
    import diffusers

    pipe = diffusers.WanPipeline.from_pretrained(tiny.ensure(models_dir, model), dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe
