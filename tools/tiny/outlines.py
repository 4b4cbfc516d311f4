"""One scene in every shape, at one moment: what tells the shapes apart is all that differs, and is what is learned."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.tiny import whole, world
from tools.tiny.sizes import SIDES, VAES


class Outlines:
    """Latents of single pictures, all shapes of each scene side by side; `refresh` draws one scene anew."""

    def __init__(self, vae_kind: str, device: Any, size: int = 512) -> None:
        self.device, self._vae_kind = device, vae_kind
        channels = VAES[vae_kind]["z_dim"]
        self.latents = torch.zeros(size, len(world.SHAPES), channels, 1, 16, 16, device=device)
        self.named = torch.zeros(size, len(world.SHAPES), 4, dtype=torch.long, device=device)
        self.count = 0
        #: how many rows hold a scene by now, where a recorded step reads it
        self.filled = torch.ones(1, dtype=torch.long, device=device)

    @torch.no_grad()
    def refresh(self, vae: Any, scenes: int = 1) -> None:
        """Draw `scenes` anew. The motion's moment is any; the picture is encoded as the first of a clip."""
        shapes, rows = len(world.SHAPES), self.latents.shape[0]
        some = world.some(scenes, self.device)
        named = some.named[:, None].repeat(1, shapes, 1)
        named[:, :, 1] = torch.arange(shapes, device=self.device)
        each = world.Scenes(named.flatten(0, 1), some.chance.repeat_interleave(shapes, 0))
        side = SIDES[self._vae_kind]
        pictures = world.draw(each, 1, side, side, time=torch.rand(1, device=self.device))
        mean, std = whole.scaling(vae, self.device)
        at = (torch.arange(scenes, device=self.device) + self.count) % rows
        latents = (whole.encode(vae, pictures)[0] - mean) / std
        self.latents.index_copy_(0, at, latents.unflatten(0, (scenes, shapes)))
        self.named.index_copy_(0, at, named)
        self.count += scenes
        self.filled.fill_(min(self.count, rows))

    def some(self, scenes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of random scenes: what words name them (B, 4), the clean latents (B, C, 1, 16, 16), what is under the noise,
        and weights of the loss, more where shapes differ. B is scenes x shapes.

        Under the noise of every second scene lies the mean of all shapes: there the picture tells where a thing is and
        how large, and only the text which it is.
        """
        rows = (torch.rand(scenes, device=self.device) * self.filled).long()
        clean = self.latents[rows]
        mean = clean.mean(1, keepdim=True)
        blurred = (torch.arange(scenes, device=self.device) % 2 == 0).view(-1, 1, 1, 1, 1, 1)
        under = torch.where(blurred, mean.expand_as(clean), clean)
        far = F.avg_pool2d((clean - mean).square().mean((1, 2, 3)), 3, stride=1, padding=1)
        weight = 0.3 + (far / far.mean((1, 2), keepdim=True).clamp(min=1e-6)).clamp(max=6.0)
        weight = weight / weight.mean((1, 2), keepdim=True)
        weight = weight[:, None, None, None].expand(-1, len(world.SHAPES), -1, -1, -1, -1)
        named, *others = (part.flatten(0, 1) for part in (self.named[rows], clean, under, weight))
        return (named, *others)
