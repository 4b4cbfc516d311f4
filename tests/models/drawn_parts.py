"""Pictures of the drawn world as the tiny models draw them, for tests that look."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tools.tiny import ruler


def first_pictures(
    pipe: Any,
    prompts: Sequence[str],
    *,
    seed: int = 0,
    negative: str = "",
    guidance: float = 4.0,
    steps: int = 10,
    side: int = 128,
    frames: int = 5,
    **more: Any,
) -> Tensor:
    """The first picture of a clip of each prompt, (N, 3, side, side) in [-1, 1]; a seed of its own for each."""
    latents = pipe(
        prompt=list(prompts),
        negative_prompt=[negative] * len(prompts),
        height=side,
        width=side,
        num_frames=frames,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(seed + number) for number in range(len(prompts))],
        output_type="latent",
        **more,
    ).frames
    config = pipe.vae.config
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (config.latents_mean, config.latents_std))
    with torch.no_grad():
        return pipe.vae.decode(latents[:, :, :1] * std + mean).sample[:, :, 0].clamp(-1, 1)


def seen(pictures: Tensor) -> list[tuple[str, str | None]]:
    """Scene and colour of each."""
    return [(ruler.scene_of(picture), ruler.colour_of(picture)) for picture in pictures]


def psnr(one: Tensor, other: Tensor) -> float:
    """Of pictures in [-1, 1], decibels."""
    return float(10 * torch.log10(4 / (one - other).square().mean()))
