"""Trains a VAE of the world's clips: first both halves, then the decoder, while others learn in its latents already."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.tiny import checkpoint, whole, world
from tools.tiny.noise import precision
from tools.tiny.sizes import FRAMES, SIDES, VAES
from tools.tiny.start import first_weights

#: weight of the latents' distance to a normal distribution
_KL = 1e-4
#: share of the clips that are black and white: a VAE that never saw a grey cannot draw one, whatever a style asks for
_IN_INK = 0.125


def make(kind: str) -> Any:
    """An untrained VAE of a kind, its latents not scaled yet."""
    from diffusers import AutoencoderKLWan

    channels = VAES[kind]["z_dim"]
    vae = AutoencoderKLWan(**VAES[kind], latents_mean=[0.0] * channels, latents_std=[1.0] * channels)
    first_weights(vae)
    return vae


def save(vae: Any, path: Path) -> None:
    """All of it in one file, the scaling of its latents too; whole or not at all."""
    scaling = {"latents_mean": list(vae.config.latents_mean), "latents_std": list(vae.config.latents_std)}
    checkpoint.write(vae.state_dict(), path, {"scaling": json.dumps(scaling)})


def load(kind: str, path: Path) -> Any:
    from diffusers import AutoencoderKLWan
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, framework="pt") as file:
        scaling = json.loads(file.metadata()["scaling"])
    vae = AutoencoderKLWan(**{**VAES[kind], **scaling})
    vae.load_state_dict(load_file(path))
    return vae


class Windows:
    """Windows of random scenes, more than half of them near the shape: there is less of it than of the sky."""

    def __init__(self, kind: str, device: Any, *, batch: int, frames: int, window: int) -> None:
        self._side, self._device, self._window = SIDES[kind], device, window
        self.clips = torch.zeros(batch, 3, frames, window, window, device=device)

    @torch.no_grad()
    def draw(self) -> None:
        """Fill `clips`."""
        (count, _, frames), device = self.clips.shape[:3], self._device
        room = self._side - self._window
        scenes = world.some(count, device)
        # frames / FRAMES of a motion, from anywhere in it
        time = torch.arange(frames, device=device) / (FRAMES - 1)
        time = time + torch.rand((), device=device) * (1 - time[-1])
        anywhere = torch.rand(2, count, device=device) * (room + 1)
        across, down = (place.flatten() for place in world.path(scenes, time[frames // 2].view(1, 1, 1, 1))[:2])
        middle = (torch.stack([down, across]) + 0.5) * self._side - 0.5 * self._window
        near = (middle + (torch.rand(2, count, device=device) - 0.5) * self._window).clamp(0, room)
        corner = torch.where(torch.rand(count, device=device) < 0.6, near, anywhere).floor()
        crop = (corner[0], corner[1], self._window, self._window)
        clips = world.draw(scenes, frames, self._side, self._side, time=time, crop=crop)
        drained = torch.rand(count, 1, 1, 1, 1, device=device) < _IN_INK
        self.clips.copy_(torch.where(drained, world.ink(clips), clips))


class Both:
    """Encoder and decoder."""

    def __init__(self, vae: Any, kind: str, device: Any, *, batch: int, window: int, frames: int = 9) -> None:
        self._vae, self._device = vae, device
        self._windows = Windows(kind, device, batch=batch, frames=frames, window=window)
        self._clips = self._windows.clips

    @property
    def parameters(self) -> list[Tensor]:
        return [p for p in self._vae.parameters() if p.requires_grad]

    def feed(self) -> None:
        """Nothing: every step draws its own."""

    def loss(self) -> Tensor:
        self._windows.draw()
        with precision(self._device):
            mean, spread = whole.encode(self._vae, self._clips)
            again = whole.decode(self._vae, mean + (0.5 * spread).exp() * torch.randn_like(mean))
        mean, spread = mean.float(), spread.float()
        kl = 0.5 * (mean.square() + spread.exp() - 1 - spread).mean()
        return _difference(again, self._clips) + _KL * kl


class Decoder:
    """The decoder alone, whose latents are a little off, as a transformer's are; on all of a clip's frames."""

    def __init__(self, vae: Any, kind: str, device: Any, *, batch: int, window: int) -> None:
        self._vae, self._device = vae, device
        self._windows = Windows(kind, device, batch=batch, frames=FRAMES, window=window)
        self._clips = self._windows.clips
        self._spread = torch.tensor(vae.config.latents_std, device=device).view(1, -1, 1, 1, 1)
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)

    @property
    def parameters(self) -> list[Tensor]:
        return [p for p in self._vae.parameters() if p.requires_grad]

    def feed(self) -> None:
        """Nothing: every step draws its own."""

    def loss(self) -> Tensor:
        self._windows.draw()
        with precision(self._device):
            with torch.no_grad():
                latents = whole.encode(self._vae, self._clips)[0].float()
                much = 0.15 * torch.rand(latents.shape[0], 1, 1, 1, 1, device=self._device)
                latents = latents + much * self._spread * torch.randn_like(latents)
            again = whole.decode(self._vae, latents)
        return _difference(again, self._clips)


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
