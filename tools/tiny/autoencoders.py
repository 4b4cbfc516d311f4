"""Trains a VAE of the world's clips: first both halves, then the decoder, while others learn in its latents already."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.tiny import whole, world
from tools.tiny.sizes import FRAMES, SIDES, VAES

#: weight of the latents' distance to a normal distribution
_KL = 1e-4


def make(kind: str) -> Any:
    """An untrained VAE of a kind, its latents not scaled yet."""
    from diffusers import AutoencoderKLWan

    channels = VAES[kind]["z_dim"]
    return AutoencoderKLWan(**VAES[kind], latents_mean=[0.0] * channels, latents_std=[1.0] * channels)


def save(vae: Any, path: Path) -> None:
    """All of it in one file, the scaling of its latents too; whole or not at all."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in vae.state_dict().items()}
    scaling = {"latents_mean": list(vae.config.latents_mean), "latents_std": list(vae.config.latents_std)}
    draft = path.with_suffix(".draft")
    save_file(state, draft, metadata={"scaling": json.dumps(scaling)})
    os.replace(draft, path)


def load(kind: str, path: Path) -> Any:
    from diffusers import AutoencoderKLWan
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, framework="pt") as file:
        scaling = json.loads(file.metadata()["scaling"])
    vae = AutoencoderKLWan(**{**VAES[kind], **scaling})
    vae.load_state_dict(load_file(path))
    return vae


class Both:
    """Encoder and decoder, on windows of random scenes."""

    def __init__(self, vae: Any, kind: str, device: Any, *, batch: int, frames: int = 9) -> None:
        self._vae, self._side, self._device, self._frames = vae, SIDES[kind], device, frames
        self._window = self._side // 2
        self._clips = torch.zeros(batch, 3, frames, self._window, self._window, device=device)

    @property
    def parameters(self) -> list[Tensor]:
        return [p for p in self._vae.parameters() if p.requires_grad]

    @torch.no_grad()
    def feed(self) -> None:
        count, room = self._clips.shape[0], self._side - self._window
        scenes = world.some(count, self._device)
        corner = (torch.rand(2, count, device=self._device) * (room + 1)).floor()
        # the motion of a whole clip in fewer frames, or the first half of it as it is
        time = torch.arange(self._frames, device=self._device) / (FRAMES - 1)
        crop = (corner[0], corner[1], self._window, self._window)
        start = torch.rand((), device=self._device) * (1 - time[-1])
        self._clips.copy_(world.draw(scenes, self._frames, self._side, self._side, time=time + start, crop=crop))

    def loss(self) -> Tensor:
        with _precision(self._device):
            mean, spread = whole.encode(self._vae, self._clips)
            again = whole.decode(self._vae, mean + (0.5 * spread).exp() * torch.randn_like(mean))
        mean, spread = mean.float(), spread.float()
        kl = 0.5 * (mean.square() + spread.exp() - 1 - spread).mean()
        return _difference(again, self._clips) + _KL * kl


class Decoder:
    """The decoder alone, on whole clips whose latents are a little off, as a transformer's are."""

    def __init__(self, vae: Any, kind: str, device: Any, *, batch: int) -> None:
        self._vae, self._side, self._device = vae, SIDES[kind], device
        self._clips = torch.zeros(batch, 3, FRAMES, self._side, self._side, device=device)
        self._spread = torch.tensor(vae.config.latents_std, device=device).view(1, -1, 1, 1, 1)
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)

    @property
    def parameters(self) -> list[Tensor]:
        return [p for p in self._vae.parameters() if p.requires_grad]

    @torch.no_grad()
    def feed(self) -> None:
        scenes = world.some(self._clips.shape[0], self._device)
        self._clips.copy_(world.draw(scenes, FRAMES, self._side, self._side))

    def loss(self) -> Tensor:
        with _precision(self._device):
            with torch.no_grad():
                latents = whole.encode(self._vae, self._clips)[0].float()
                much = 0.15 * torch.rand(latents.shape[0], 1, 1, 1, 1, device=self._device)
                latents = latents + much * self._spread * torch.randn_like(latents)
            again = whole.decode(self._vae, latents)
        return _difference(again, self._clips)


def _precision(device: Any) -> Any:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False)


def _difference(again: Tensor, clips: Tensor) -> Tensor:
    """How wrong a clip is: its pixels, and where they change."""
    off = (again.float() - clips).abs()
    across = (again.float().diff(dim=-1) - clips.diff(dim=-1)).abs()
    down = (again.float().diff(dim=-2) - clips.diff(dim=-2)).abs()
    return off.mean() + off.square().mean() + 0.5 * (across.mean() + down.mean())


@torch.no_grad()
def scale(vae: Any, kind: str, device: Any, *, count: int = 256, batch: int = 16) -> None:
    """Measure the latents and write into the VAE's configuration how far they lie and spread."""
    seen = []
    for _ in range(max(1, count // batch)):
        clips = world.draw(world.some(batch, device), FRAMES, SIDES[kind], SIDES[kind])
        seen.append(whole.encode(vae, clips)[0].cpu())
    latents = torch.cat(seen).transpose(0, 1).flatten(1)
    spread = latents.std(1)
    vae.register_to_config(
        latents_mean=[round(float(value), 5) for value in latents.mean(1)],
        latents_std=[round(float(value), 5) for value in spread.clamp(min=0.1 * float(spread.max()))],
    )
