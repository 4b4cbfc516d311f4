"""The flow shift of a request is the one that its pictures were drawn with."""

from collections.abc import Callable
from typing import Any

import torch
from drawn_parts import psnr
from model_parts import Render, decoded
from torch import Tensor

ASKED: dict[str, Any] = {"prompt": "a blue star grows on a sunny day", "negative_prompt": "", "seed": 3}
SHIFTS = (1.0, 12.0)


def test_the_shift_asked_for_is_in_the_pictures(render: Render, loaded: Callable[[str], Any]) -> None:
    """Against diffusers' own pipeline with that shift; the other one's clip is another."""
    pipe = loaded("t2v")
    kept = pipe.scheduler
    try:
        direct = [_direct(pipe, kept, shift) for shift in SHIFTS]
    finally:
        pipe.scheduler = kept
    asked = [_rendered(render, shift) for shift in SHIFTS]
    for clip, own, other in zip(asked, direct, reversed(direct), strict=True):
        assert psnr(clip, own) > psnr(clip, other) + 6
        assert psnr(clip, own) > 28  # what coding a video loses


def _direct(pipe: Any, scheduler: Any, shift: float) -> Tensor:
    from diffusers import UniPCMultistepScheduler

    pipe.scheduler = UniPCMultistepScheduler.from_config({**scheduler.config, "flow_shift": shift})
    made = pipe(
        prompt=ASKED["prompt"],
        negative_prompt=ASKED["negative_prompt"],
        height=128,
        width=128,
        num_frames=5,
        num_inference_steps=4,
        guidance_scale=4.0,
        guidance_scale_2=3.0,
        generator=torch.Generator().manual_seed(ASKED["seed"]),
        output_type="pt",
    ).frames[0]
    return made.movedim(0, 1) * 2 - 1


def _rendered(render: Render, shift: float) -> Tensor:
    made = render(shift=shift, width=128, height=128, **ASKED)
    frames = torch.from_numpy(decoded(made.video)).float() / 127.5 - 1
    return frames.permute(3, 0, 1, 2)
