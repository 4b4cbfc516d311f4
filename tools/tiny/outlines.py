"""One scene in every shape, at one moment: what tells the shapes apart is all that differs, and is what is learned."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.tiny import whole, world
from tools.tiny.sizes import SIDES

_KIND = "vae21"


class Outlines:
    """Latents of single pictures, all shapes of each scene side by side; `refresh` draws one scene anew."""

    def __init__(self, device: Any, size: int = 512) -> None:
        self.device = device
        self.latents = torch.zeros(size, len(world.SHAPES), 16, 1, 16, 16, device=device)
        self.named = torch.zeros(size, len(world.SHAPES), 4, dtype=torch.long, device=device)
        self.count = 0

    @torch.no_grad()
    def refresh(self, vae: Any) -> None:
        """The motion's moment is any; the picture is encoded as the first of a clip."""
        shapes = len(world.SHAPES)
        one = world.some(1, self.device)
        named = one.named.repeat(shapes, 1)
        named[:, 1] = torch.arange(shapes, device=self.device)
        scenes = world.Scenes(named, one.chance.repeat(shapes, 1))
        side = SIDES[_KIND]
        pictures = world.draw(scenes, 1, side, side, time=torch.rand(1, device=self.device))
        mean, std = whole.scaling(vae, self.device)
        row = self.count % self.latents.shape[0]
        self.latents[row] = (whole.encode(vae, pictures)[0] - mean) / std
        self.named[row] = named
        self.count += 1

    def some(self, scenes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of random scenes: what words name them (B, 4), the clean latents (B, 16, 1, 16, 16), what is under the noise,
        and weights of the loss, more where shapes differ. B is scenes x shapes.

        Under the noise of every second scene lies the mean of all shapes: there the picture tells where a thing is and
        how large, and only the text which it is.
        """
        rows = torch.randint(0, min(self.count, self.latents.shape[0]), (scenes,), device=self.device)
        clean = self.latents[rows]
        mean = clean.mean(1, keepdim=True)
        blurred = (torch.arange(scenes, device=self.device) % 2 == 0).view(-1, 1, 1, 1, 1, 1)
        under = torch.where(blurred, mean.expand_as(clean), clean)
        far = F.avg_pool2d((clean - mean).square().mean((1, 2, 3)), 3, stride=1, padding=1)
        weight = 0.3 + (far / far.mean((1, 2), keepdim=True)).clamp(max=6.0)
        weight = weight / weight.mean((1, 2), keepdim=True)
        weight = weight[:, None, None, None].expand(-1, len(world.SHAPES), -1, -1, -1, -1)
        named, *others = (part.flatten(0, 1) for part in (self.named[rows], clean, under, weight))
        return (named, *others)
