"""What a transformer learns: to see the noise in a batch of clips, or of single pictures."""

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.tiny import words, world
from tools.tiny.experts import Bank, Expert, ShortText, picture_mask
from tools.tiny.outlines import Outlines

#: scenes in every shape that are drawn before the first step
_OUTLINES = 160
#: noise in which a thing can be made out and its outline is not yet decided
_UNDECIDED = (0.45, 0.97)


@dataclass(frozen=True)
class Examples:
    """B clips or pictures.

    named   (B, 4) the words of each;  said: (B, 4) which of them the text says
    clean   (B, C, T, H, W) what is to be found;  under: what lies under the noise, mostly the same
    weight  (B, 1, T, H, W) of the loss;  noise: as clean;  level: (B, 1, 1, 1, 1) how much of it
    """

    named: Tensor
    said: Tensor
    clean: Tensor
    under: Tensor
    weight: Tensor
    noise: Tensor
    level: Tensor

    def and_(self, other: "Examples") -> "Examples":
        names = [field.name for field in fields(self)]
        return Examples(**{name: torch.cat([getattr(self, name), getattr(other, name)]) for name in names})


class Denoising:
    """A transformer at its noise levels, on the bank's clips. One of t2v sees single pictures in every second step,
    five times as many: what a shape is can be learned from those.

    batch   clips of a step
    stills  single pictures in every step, and no clips
    """

    def __init__(
        self, dit: Any, expert: Expert, bank: Bank, table: Tensor, *, batch: int, stills: bool = False
    ) -> None:
        self.dit, self._expert, self._bank, self._batch = dit, expert, bank, batch
        self._stills = stills
        self._outlines = Outlines(bank.device) if expert.kind == "t2v" else None
        self._means: Tensor | None = None
        self._calls = 0
        self._table = table.to(bank.device)
        dit.set_attn_processor(ShortText())

    @property
    def parameters(self) -> list[Tensor]:
        return list(self.dit.parameters())

    def feed(self) -> None:
        self._bank.refresh()
        if self._outlines is not None and self._bank.vae is not None:
            # many before the first step, so that none is learned by heart
            for _ in range(2 if self._outlines.count else _OUTLINES):
                self._outlines.refresh(self._bank.vae)

    def loss(self) -> Tensor:
        self._calls += 1
        bank, device = self._bank, self._bank.device
        single = self._outlines is not None and (self._stills or self._calls % 2 == 0)
        rows = (torch.rand(self._batch, device=device) * bank.filled).long()
        batch = self._pictures(5 * self._batch) if single else self._clips(rows)
        text = self._table[words.row(batch.named, batch.said)]
        noisy = batch.level * batch.noise + (1 - batch.level) * batch.under
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False):
            if self._expert.kind == "ti2v":
                return self._with_first_picture(noisy, batch.clean, batch.noise, batch.level, text)
            if bank.conditions is not None:
                shown = bank.conditions[rows].float()
                noisy = torch.cat([noisy, picture_mask(bank.both_ends[rows], shown), shown], 1)
            seen = self.dit(noisy, batch.level.flatten() * 1000, text, return_dict=False)[0]
        return ((seen.float() - (batch.noise - batch.clean)).square() * batch.weight).mean()

    def _clips(self, rows: Tensor) -> Examples:
        bank = self._bank
        clean, named, count = bank.latents[rows].float(), bank.named[rows], rows.shape[0]
        level = self._levels(count).view(-1, 1, 1, 1, 1)
        weight = self._weight(clean, named[:, 3])
        return Examples(named, self._said(count), clean, clean, weight, torch.randn_like(clean), level)

    def _pictures(self, count: int) -> Examples:
        """A quarter are of clips, at any moment. The others show a scene in every shape, under one noise: what is left
        that differs is the shape."""
        shapes, device = len(world.SHAPES), self._bank.device
        assert self._outlines is not None
        scenes = 3 * count // 4 // shapes if self._outlines.count else 0
        rows = (torch.rand(count - scenes * shapes, device=device) * self._bank.filled).long()
        clips = self._clips(rows)
        moments = torch.randint(0, clips.clean.shape[2], (rows.shape[0], 1, 1, 1, 1), device=device)

        def at_moment(part: Tensor) -> Tensor:
            return part.gather(2, moments.expand(-1, part.shape[1], 1, *part.shape[3:]))

        clean, noise, weight = (at_moment(part) for part in (clips.clean, clips.noise, clips.weight))
        of_clips = Examples(clips.named, clips.said, clean, clean, weight, noise, clips.level)
        if not scenes:
            return of_clips
        named, clean, under, weight = self._outlines.some(scenes)
        low, high = self._expert.noise
        first, last = max(_UNDECIDED[0], low), min(_UNDECIDED[1], high)
        level = torch.rand(scenes, 1, 1, 1, 1, device=device) * (last - first) + first
        noise = torch.randn(scenes, *clean.shape[1:], device=device)
        level, noise = (part.repeat_interleave(shapes, 0) for part in (level, noise))
        said = torch.ones_like(named, dtype=torch.bool)
        return Examples(named, said, clean, under, weight, noise, level).and_(of_clips)

    def _weight(self, clean: Tensor, scene: Tensor) -> Tensor:
        """(B, 1, T, H, W), 1 in the mean: more where a clip differs from the mean of its scene's, which is where the
        thing is. A few pixels tell a square from a circle: evenly weighed, the background drowns them."""
        bank = self._bank
        if self._means is None or self._calls % 64 == 0:
            filled = max(1, int(bank.filled))
            known, scenes = bank.latents[:filled].float(), bank.named[:filled, 3]
            here = [known[scenes == number] for number in range(len(world.SCENES))]
            self._means = torch.stack([clips.mean(0) if len(clips) else known.mean(0) for clips in here])
        far = (clean - self._means[scene]).square().mean(1, keepdim=True)
        far = F.avg_pool3d(far, (1, 3, 3), stride=1, padding=(0, 1, 1), count_include_pad=False)
        weight = 0.4 + (far / far.mean((1, 3, 4), keepdim=True)).clamp(max=4.0)
        return weight / weight.mean((1, 2, 3, 4), keepdim=True)

    def _with_first_picture(self, noisy: Tensor, clean: Tensor, noise: Tensor, level: Tensor, text: Tensor) -> Tensor:
        """Half of the clips have their first picture clean, as the 5B's pipeline gives it: its tokens are at time 0."""
        count, _, frames, height, width = clean.shape
        free = torch.ones(count, 1, frames, 1, 1, device=clean.device)
        free[:, :, 0] = (torch.rand(count, device=clean.device) < 0.5).float().view(-1, 1, 1, 1)
        given = free * noisy + (1 - free) * clean
        times = (free * level * 1000).expand(-1, -1, -1, height // 2, width // 2).flatten(1)
        seen = self.dit(given, times, text, return_dict=False)[0]
        return ((seen.float() - (noise - clean)).square() * free).mean()

    def _said(self, count: int) -> Tensor:
        """Which words are said: in one clip of eight none, of the others each with a chance of nine in ten."""
        device = self._bank.device
        some = torch.rand(count, 1, device=device) > 0.125
        return some & (torch.rand(count, 4, device=device) > 0.1)

    def _levels(self, count: int) -> Tensor:
        """Noise levels between the expert's ends, shifted to the noisier ones."""
        low, high = self._expert.noise
        shift = self._expert.shift
        # the levels are shift * u / (1 + (shift - 1) * u) of an even u; these are the u of the ends
        first, last = (end / (shift - (shift - 1) * end) for end in (low, high))
        even = torch.rand(count, device=self._bank.device) * (last - first) + first
        return shift * even / (1 + (shift - 1) * even)
