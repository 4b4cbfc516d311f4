"""Draws clips with transformers in training, as the pipelines do, many at a time: for the sheets."""

from typing import Any

import torch
from torch import Tensor

from tools.tiny import whole
from tools.tiny.experts import only_ends, picture_mask
from tools.tiny.sizes import FRAMES


@torch.no_grad()
def clips_of(
    experts: list[Any],
    vae: Any,
    text: Tensor,
    nothing: Tensor,
    *,
    boundary: float,
    steps: int = 12,
    shift: float = 5.0,
    guidance: float = 4.0,
    seed: int = 0,
    pictures: Tensor | None = None,
    last: Tensor | None = None,
) -> Tensor:
    """Clips (B, 3, T, H, W) in [-1, 1] for texts (B, tokens, width); `nothing` is the empty one's.

    experts     the transformers, the one for more noise first; with one alone, that is the 5B-like
    pictures    (B, 3, H, W) that the clips begin with, `last` that they end with (for the pair of i2v)
    """
    from diffusers import UniPCMultistepScheduler

    device, count = text.device, text.shape[0]
    scheduler = UniPCMultistepScheduler(
        num_train_timesteps=1000, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )
    scheduler.set_timesteps(steps, device=device)
    mean, std = whole.scaling(vae, device)
    shape = (count, vae.config.z_dim, 5, 16, 16)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    shown = free = None
    if pictures is not None:
        side = pictures.shape[-1]
        clip = torch.zeros(count, 3, FRAMES, side, side, device=device)
        clip[:, :, 0] = pictures
        both = torch.full((count,), last is not None, device=device)
        if last is not None:
            clip[:, :, -1] = last
        clip = only_ends(clip, both) if len(experts) == 2 else clip[:, :, :1]
        shown = (vae.encode(clip).latent_dist.mode() - mean) / std
        if len(experts) == 1:
            free = torch.ones(1, 1, 5, 1, 1, device=device)
            free[:, :, 0] = 0
        else:
            shown = torch.cat([picture_mask(both, shown), shown], 1)
    empty = nothing.to(device).expand_as(text)
    for time in scheduler.timesteps:
        expert = experts[0] if len(experts) == 1 or time >= boundary * 1000 else experts[1]
        seen = latents
        if free is not None and shown is not None:
            seen = free * latents + (1 - free) * shown
            times = (free * time).expand(count, 1, 5, 8, 8).flatten(1)
        else:
            times = time.float().expand(count)
            if len(experts) == 1:
                times = times.view(-1, 1).expand(count, 320)
            if shown is not None:
                seen = torch.cat([latents, shown], 1)
        told = expert(seen, times, text, return_dict=False)[0].float()
        untold = expert(seen, times, empty, return_dict=False)[0].float()
        latents = scheduler.step(untold + guidance * (told - untold), time, latents, return_dict=False)[0]
    if free is not None and shown is not None:
        latents = free * latents + (1 - free) * shown
    return torch.cat([vae.decode(piece).sample for piece in (latents * std + mean).split(8)])
