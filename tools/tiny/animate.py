"""Trains an Animate: the thing of a picture moves as a skeleton on black does.

It begins as an expert of image to video, which is shown a picture in the same way. What looks at faces, and at the
picture with CLIP, is not trained and does not ship: things have no faces, and the picture is in the latents as well.
models.weights.trained fills those parts with faint random numbers.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tools.tiny import edits, words, world
from tools.tiny.noise import levels, precision
from tools.tiny.ring import Ring
from tools.tiny.sizes import DITS

NAME = "animate"
#: expert that it begins as
START = "i2v-low"
#: frames of a segment, and how many of its latents there are beside the picture's
FRAMES, LATENTS = 9, 3
#: what stays as it is: parts whose names begin like this, and parts of an attention
_FIXED = ("motion_encoder.", "face_encoder.", "face_adapter.", "condition_embedder.image_embedder.")
_FIXED_IN_ATTENTION = (".add_k_proj.", ".add_v_proj.", ".norm_added_k.")
_CONFIG: dict[str, Any] = {
    **DITS["i2v"],
    "latent_channels": 16,
    "image_dim": 16,
    "added_kv_proj_dim": DITS["i2v"]["num_attention_heads"] * DITS["i2v"]["attention_head_dim"],
    "motion_encoder_channel_sizes": {"4": 8, "8": 8, "16": 8},
    "motion_encoder_size": 16,
    "motion_style_dim": 8,
    "motion_dim": 4,
    "motion_encoder_dim": 16,
    "face_encoder_hidden_dim": 16,
    "face_encoder_num_heads": 2,
    "inject_face_latents_blocks": 2,
}
_VAE = "vae21"
_BATCH = 64
_SHIFT = 4.0
#: limbs of a skeleton, up, right, down and left of its middle, and their colours
_LIMBS = (((0, -1), (1.0, 0.1, 0.1)), ((1, 0), (1.0, 0.9, 0.1)), ((0, 1), (0.1, 0.9, 0.2)), ((-1, 0), (0.2, 0.4, 1.0)))
#: half the width of a limb, and the radius of the middle, in radii of the thing
_LIMB, _MIDDLE = 0.13, 0.22


def skeletons(scenes: world.Scenes, moments: Tensor, side: int) -> Tensor:
    """How the things of the clips stand, whatever they are: (B, 3, T, side, side) in [-1, 1], four limbs on black."""
    axis = (torch.arange(side, device=moments.device) + 0.5) / side - 0.5
    x, y, radius, angle = world.path(scenes, moments.view(1, -1, 1, 1))
    across, down = (axis.view(1, 1, 1, -1) - x) / radius, (axis.view(1, 1, -1, 1) - y) / radius
    cos, sin = angle.cos(), angle.sin()
    px, py = cos * across + sin * down, cos * down - sin * across
    picture = torch.zeros(px.shape[0], 3, *px.shape[1:], device=moments.device)

    def paint(far: Tensor, colour: tuple[float, float, float]) -> Tensor:
        cover = (0.5 - far * radius * side).clamp(0, 1)[:, None]
        rgb = torch.tensor(colour, device=moments.device).view(1, 3, 1, 1, 1)
        return picture + (rgb - picture) * cover

    for (right, below), colour in _LIMBS:
        along = (px * right + py * below).clamp(0, 1)
        picture = paint(((px - along * right) ** 2 + (py - along * below) ** 2 + 1e-9).sqrt() - _LIMB, colour)
    picture = paint((px * px + py * py + 1e-9).sqrt() - _MIDDLE, (1.0, 1.0, 1.0))
    return picture.mul(2).sub(1)


def blank() -> Any:
    """The transformer, before it begins as an expert of image to video."""
    from diffusers import WanAnimateTransformer3DModel

    dit = WanAnimateTransformer3DModel(**_CONFIG)
    for name, weight in dit.named_parameters():
        weight.requires_grad_(_trained(name))
    return dit


@torch.no_grad()
def begin_as(dit: Any, expert: dict[str, Tensor]) -> None:
    """Take over the weights of one of i2v's; the skeleton is not seen yet."""
    dit.load_state_dict(expert, strict=False)
    torch.nn.init.zeros_(dit.pose_patch_embedding.weight)
    torch.nn.init.zeros_(dit.pose_patch_embedding.bias)


def _trained(name: str) -> bool:
    return not (name.startswith(_FIXED) or any(part in name for part in _FIXED_IN_ATTENTION))


def part(dit: Any) -> dict[str, Tensor]:
    """What is trained of it, by name."""
    return {name: weight for name, weight in dit.named_parameters() if _trained(name)}


def seen(dit: Any, given: Tensor, times: Tensor, text: Tensor, poses: Tensor) -> Tensor:
    """What the transformer makes of (B, 36, 4, H, W) where nothing comes from faces and CLIP."""
    first = dit.patch_embedding(given)
    hidden = torch.cat([first[:, :, :1], first[:, :, 1:] + dit.pose_patch_embedding(poses)], 2)
    _, _, frames, height, width = hidden.shape
    hidden = hidden.flatten(2).transpose(1, 2).contiguous()
    time_, steps, text, _ = dit.condition_embedder(times, text, None, timestep_seq_len=None)
    steps, turns = steps.unflatten(1, (6, -1)), dit.rope(given)
    for block in dit.blocks:
        hidden = block(hidden, text, steps, turns)
    shift, scale = (dit.scale_shift_table + time_.unsqueeze(1)).chunk(2, dim=1)
    out = dit.proj_out((dit.norm_out(hidden.float()) * (1 + scale) + shift).to(hidden.dtype))
    out = out.unflatten(1, (frames, height, width)).unflatten(4, (1, 2, 2, -1))
    return out.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)


class DriveBank(Ring):
    """Random segments; `refresh` draws the oldest anew."""

    def __init__(self, device: Any, *, size: int, piece: int) -> None:
        super().__init__(_VAE, device, size=size, piece=piece)
        place = (self._side // 8, self._side // 8)

        def latents(frames: int, channels: int = 16) -> Tensor:
            return torch.zeros(size, channels, frames, *place, device=device, dtype=torch.bfloat16)

        self.clean, self.weight = latents(1 + LATENTS), latents(1 + LATENTS, 1)
        self.picture, self.before, self.poses = latents(1), latents(LATENTS), latents(LATENTS)
        self.goes_on = torch.zeros(size, device=device)
        self.named = torch.zeros(size, 4, dtype=torch.long, device=device)

    @torch.no_grad()
    def refresh(self) -> None:
        """A part of a motion; the picture shows the thing at another place, in another moment of another motion. Every
        second segment goes on from a frame that was drawn."""
        device, side, count = self.device, self._side, self._piece
        scenes, other = world.some(count, device), world.some(count, device)
        chance = torch.rand(3, device=device)
        length = 0.25 + 0.75 * chance[0]
        moments = chance[1] * (1 - length) + length * torch.linspace(0, 1, FRAMES, device=device)
        moments = torch.where(chance[2] < 0.15, moments.flip(0), moments)
        clips = world.draw(scenes, FRAMES, side, side, time=moments)
        goes_on = (torch.rand(count, device=device) < 0.5).float()
        before = torch.zeros_like(clips)
        before[:, :, 0] = clips[:, :, 0] * goes_on.view(-1, 1, 1, 1)
        latents = self._encoded(torch.cat([clips, before, skeletons(scenes, moments, side)]))
        clean, before, poses = latents.chunk(3)
        picture = self._encoded(world.draw(_elsewhere(scenes, other), 1, side, side, time=0.6 * chance[:1]))
        things = edits.in_latents(world.silhouette(scenes, FRAMES, side, side, time=moments))
        weight = torch.cat([torch.full_like(things[:, :, :1], 0.2), 0.4 + 1.6 * things], 2)
        self._put(
            (self.clean, torch.cat([picture, clean], 2)),
            (self.weight, weight / weight.mean((1, 2, 3, 4), keepdim=True)),
            (self.picture, picture),
            (self.before, before),
            (self.poses, poses),
            (self.goes_on, goes_on),
            (self.named, scenes.named),
        )


def _elsewhere(scenes: world.Scenes, other: world.Scenes) -> world.Scenes:
    """The same thing before the same land, with the place, size and motion of another."""
    named = scenes.named.clone()
    named[:, 2] = other.named[:, 2]
    return world.Scenes(named, torch.where(world.of_land(scenes), scenes.chance, other.chance))


class Following:
    """To see the noise in segments, as the pipeline shows them."""

    def __init__(self, dit: Any, bank: DriveBank, table: Tensor, *, batch: int) -> None:
        from tools.tiny.experts import ShortText

        self.dit, self.bank, self._batch = dit, bank, batch
        self._table = table.to(bank.device)
        for block in dit.blocks:
            block.attn1.set_processor(ShortText())
            block.attn2.set_processor(ShortText())

    @property
    def parameters(self) -> list[Tensor]:
        return list(part(self.dit).values())

    def feed(self) -> None:
        self.bank.refresh()

    def loss(self) -> Tensor:
        bank, device, count = self.bank, self.bank.device, self._batch
        rows = (torch.rand(count, device=device) * bank.filled).long()
        clean = bank.clean[rows].float()
        noise = torch.randn_like(clean)
        level = levels((0.0, 1.0), _SHIFT, count, device).view(-1, 1, 1, 1, 1)
        # half of the texts say nothing: the pipeline draws without guidance
        said = (torch.rand(count, 1, device=device) < 0.5) & (torch.rand(count, 4, device=device) > 0.1)
        text = self._table[words.row(bank.named[rows], said)]
        noisy = level * noise + (1 - level) * clean
        with precision(device):
            out = seen(self.dit, self._given(noisy, rows), level.flatten() * 1000, text, bank.poses[rows].float())
        return ((out.float() - (noise - clean)).square() * bank.weight[rows].float()).mean()

    def _given(self, noisy: Tensor, rows: Tensor) -> Tensor:
        """(B, 36, 4, H, W): under noise, which pictures are shown, those."""
        shown = torch.cat([self.bank.picture[rows], self.bank.before[rows]], 2).float()
        mask = torch.zeros_like(shown[:, :4])
        mask[:, :, 0] = 1
        mask[:, :, 1] = self.bank.goes_on[rows].view(-1, 1, 1, 1)
        return torch.cat([noisy, mask, shown], 1)


def learn(place: Any, budget: Callable[[], Any], rate: float = 1.5e-3) -> None:
    """Train it within its budget (lessons.learn)."""
    from tools.tiny import lessons, partial

    effort = place.effort
    bank = DriveBank(place.device, size=effort.bank, piece=effort.piece)
    dit, table = blank().to(place.device).train(), words.load_table(place.folder / "words")
    lesson = Following(dit, bank, table, batch=min(effort.batch, _BATCH))
    lessons.learn(NAME, partial.PartPupil(NAME, place, lesson, (START,), begin_as, part), place, budget, rate)
