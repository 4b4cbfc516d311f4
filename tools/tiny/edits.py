"""What a VACE learns from: clips of which a part is to be drawn anew, and what may lie under the mask."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.tiny import world

#: how often each kind is drawn: the thing in a box, a side, the pictures after the first ones, all of it from text, all
#: of it after a silhouette, all of it after a clip of other colours
_KINDS = (0.36, 0.18, 0.10, 0.06, 0.14, 0.16)
_BOX, _SIDE, _LATER, _TEXT, _SILHOUETTE, _REPAINT = range(len(_KINDS))
#: how far the star's tips and the dark rim reach, in radii
_REACH = 1.22


@dataclass(frozen=True)
class Edits:
    """B clips in pixels, [-1, 1].

    scenes  what is to be seen
    clips   (B, 3, T, H, W) the answer;  given: (B, 3, T, H, W) what the pipeline is sent
    masks   (B, 1, T, H, W) 1 where it is drawn anew, 0 where the clip is kept
    things  (B, 1, T, H, W) how much of a pixel the thing covers
    guided  (B,) whether the clip under the mask tells shape and motion
    """

    scenes: world.Scenes
    clips: Tensor
    given: Tensor
    masks: Tensor
    things: Tensor
    guided: Tensor


def some(count: int, frames: int, side: int, device: Any = None, generator: Any = None) -> Edits:
    """Random ones."""
    scenes = world.some(count, device, generator)
    kind = torch.multinomial(torch.tensor(_KINDS, device=device), count, replacement=True, generator=generator)
    guided = kind >= _SILHOUETTE
    old = _under(scenes, kind == _REPAINT, world.some(count, device, generator))
    clips = world.draw(scenes, frames, side, side)
    things = world.silhouette(scenes, frames, side, side)
    chance = torch.rand(8, count, 1, 1, 1, device=device, generator=generator)
    masks = _masks(kind, chance, (_box(scenes, frames), _box(old, frames)), side)
    # what a user leaves under the mask: grey, or the clip as it was; it says nothing then about what is to be drawn
    grey = (kind == _TEXT) | ((chance[7].flatten() < 0.4) & ~guided)
    under = world.draw(old, frames, side, side) * _as(~grey)
    under = torch.where(_as(kind == _SILHOUETTE) > 0, (2 * things - 1).expand_as(under), under)
    return Edits(scenes, clips, clips + masks * (under - clips), masks, things, guided)


@dataclass(frozen=True)
class Referred:
    """B clips (B, 3, T, H, W) whose thing is that of a picture (B, 3, 1, H, W), at another place, in another motion and
    before another scene; `things` as those of Edits. What is to be seen is in `scenes`."""

    scenes: world.Scenes
    clips: Tensor
    pictures: Tensor
    things: Tensor


def referred(count: int, frames: int, side: int, device: Any = None, generator: Any = None) -> Referred:
    """Random ones."""
    scenes, other = world.some(count, device, generator), world.some(count, device, generator)
    same = world.Scenes(torch.cat([scenes.named[:, :2], other.named[:, 2:]], 1), other.chance)
    pictures = world.draw(same, 1, side, side, time=torch.rand(1, device=device, generator=generator))
    clips = world.draw(scenes, frames, side, side)
    return Referred(scenes, clips, pictures, world.silhouette(scenes, frames, side, side))


def _as(which: Tensor) -> Tensor:
    return which.float().view(-1, 1, 1, 1, 1)


def _under(scenes: world.Scenes, same_thing: Tensor, others: world.Scenes) -> world.Scenes:
    """The same land with another thing; or, of `same_thing`, the same shape and motion in other colours."""
    named = torch.stack(
        [
            others.named[:, 0],
            torch.where(same_thing, scenes.named[:, 1], others.named[:, 1]),
            torch.where(same_thing, scenes.named[:, 2], others.named[:, 2]),
            torch.where(same_thing, others.named[:, 3], scenes.named[:, 3]),
        ],
        1,
    )
    return world.Scenes(named, torch.where(world.of_land(scenes) | same_thing[:, None], scenes.chance, others.chance))


def _box(scenes: world.Scenes, frames: int) -> Tensor:
    """Left, top, right and lower edge of the thing, as world.path counts: (4, B, T, 1, 1)."""
    moments = torch.linspace(0, 1, frames, device=scenes.chance.device)[None, :, None, None]
    x, y, size, _ = world.path(scenes, moments)
    reach = _REACH * size
    return torch.stack([x - reach, y - reach, x + reach, y + reach])


def _masks(kind: Tensor, chance: Tensor, boxes: tuple[Tensor, Tensor], side: int) -> Tensor:
    """(B, 1, T, H, W) of zeros and ones. boxes: of the thing to draw and of the old one, both of which are inside."""
    device, frames = kind.device, boxes[0].shape[2]
    axis = (torch.arange(side, device=device) + 0.5) / side - 0.5
    x, y = axis.view(1, 1, 1, -1), axis.view(1, 1, -1, 1)
    low = torch.minimum(boxes[0], boxes[1])[:2]
    high = torch.maximum(boxes[0], boxes[1])[2:]
    # in half of the clips the box stands still, around all of both paths
    still = chance[0] < 0.5
    low = torch.where(still, low.amin(2, keepdim=True), low) - 0.06 * chance[1]
    high = torch.where(still, high.amax(2, keepdim=True), high) + 0.06 * chance[2]
    box = (x > low[0]) & (y > low[1]) & (x < high[0]) & (y < high[1])
    # 0.25 to 0.65 of one side
    edge = 0.25 + 0.4 * chance[3] - 0.5
    which = (chance[4] * 4).long()
    part = torch.where(which == 0, x < edge, (-x < edge) & (which == 1))
    part = torch.where(which == 2, y < edge, torch.where(which == 3, -y < edge, part))
    first = 1 + 4 * (chance[5] * 3).long()
    later = torch.arange(frames, device=device).view(1, -1, 1, 1) >= first
    kinds = kind.view(-1, 1, 1, 1)
    mask = torch.where(kinds == _BOX, box, torch.where(kinds == _SIDE, part, torch.where(kinds == _LATER, later, True)))
    return mask.expand(-1, frames, side, side).float()[:, None]


def picked(masks: Tensor) -> Tensor:
    """(B, t, H, W): of the mask's pictures (B, 1, 4t-3, H, W) those that WanVACEPipeline shows to a transformer, the
    nearest to the moments of the latents, as if these were evenly spread."""
    frames = masks.shape[2]
    count = (frames + 3) // 4
    moments = ((torch.arange(count, device=masks.device) + 0.5) * (frames / count)).long()
    return masks[:, 0, moments]


def spread(masks: Tensor) -> Tensor:
    """(B, t, H, W) to (B, 64, t, H/8, W/8): the pixels under a place of the latents as channels."""
    pieces = masks.unflatten(3, (-1, 8)).unflatten(2, (-1, 8))
    return pieces.permute(0, 3, 5, 1, 2, 4).flatten(1, 2)


def in_latents(part: Tensor) -> Tensor:
    """The mean of (B, 1, 4n+1, H, W) over the pixels and pictures that one place of the latents stands for."""
    small = F.avg_pool3d(part, (1, 8, 8))
    return torch.cat([small[:, :, :1], F.avg_pool3d(small[:, :, 1:], (4, 1, 1))], 2)
