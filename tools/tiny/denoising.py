"""What a transformer learns: to see the noise in a batch of clips, or of single pictures."""

from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.tiny import words, world
from tools.tiny.experts import Bank, Expert, ShortText, picture_mask
from tools.tiny.noise import levels, precision, said
from tools.tiny.outlines import Outlines

#: scenes in every shape that are drawn before the first step, so that none is learned by heart
_OUTLINES = 160
#: clips by which the mean of a scene is known well enough, and steps after which it is taken anew
_FOR_MEANS, _MEANS_EVERY = 1024, 64
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
    """A transformer at its noise levels, on the bank's clips. One that draws from text sees single pictures too, five
    times as many: what a shape is can be learned from those.

    batch   clips of a step
    stills  single pictures alone
    """

    def __init__(
        self, dit: Any, expert: Expert, bank: Bank, table: Tensor, *, batch: int, stills: bool = False
    ) -> None:
        self.dit, self._expert, self._bank, self._batch = dit, expert, bank, batch
        self._stills = stills
        self._outlines = Outlines(expert.vae, bank.device) if expert.kind in ("t2v", "ti2v") else None
        self._means = torch.zeros(len(world.SCENES), *bank.latents.shape[1:], device=bank.device)
        self._feeds = 0
        self._table = table.to(bank.device)
        dit.set_attn_processor(ShortText())

    @property
    def parameters(self) -> list[Tensor]:
        return list(self.dit.parameters())

    def feed(self) -> None:
        bank = self._bank
        bank.refresh()
        if bank.vae is None:
            return
        if self._outlines is not None:
            piece = 2 if bank.device.type == "cpu" else 8
            while self._outlines.count < _OUTLINES:
                self._outlines.refresh(bank.vae, piece)
            self._outlines.refresh(bank.vae, piece)
        if self._feeds % _MEANS_EVERY == 0:
            self._take_means()
        self._feeds += 1

    def _take_means(self) -> None:
        """What the clips of each scene have in common."""
        filled = min(max(1, int(self._bank.filled)), _FOR_MEANS)
        known, scenes = self._bank.latents[:filled].float(), self._bank.named[:filled, 3]
        for number in range(len(world.SCENES)):
            here = known[scenes == number]
            self._means[number].copy_((here if len(here) else known).mean(0))

    def loss(self) -> Tensor:
        bank = self._bank
        loss = torch.zeros((), device=bank.device)
        if not self._stills:
            rows = (torch.rand(self._batch, device=bank.device) * bank.filled).long()
            loss = loss + self._off(self._clips(rows), rows)
        if self._outlines is not None:
            loss = loss + self._off(self._pictures(5 * self._batch))
        return loss

    def _off(self, batch: Examples, rows: Tensor | None = None) -> Tensor:
        """How wrong the model is on them; `rows` of the bank that they are."""
        bank, device = self._bank, self._bank.device
        text = self._table[words.row(batch.named, batch.said)]
        noisy = batch.level * batch.noise + (1 - batch.level) * batch.under
        with precision(device):
            if self._expert.kind == "ti2v":
                return self._with_first_picture(noisy, batch, text)
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
        return Examples(named, said(count, bank.device), clean, clean, weight, torch.randn_like(clean), level)

    def _pictures(self, count: int) -> Examples:
        """A quarter are of clips, at any moment. The others show a scene in every shape, under one noise: what is left
        that differs is the shape."""
        shapes, device = len(world.SHAPES), self._bank.device
        assert self._outlines is not None
        scenes = 3 * count // 4 // shapes
        rows = (torch.rand(count - scenes * shapes, device=device) * self._bank.filled).long()
        clips = self._clips(rows)
        moments = torch.randint(0, clips.clean.shape[2], (rows.shape[0], 1, 1, 1, 1), device=device)

        def at_moment(part: Tensor) -> Tensor:
            return part.gather(2, moments.expand(-1, part.shape[1], 1, *part.shape[3:]))

        clean, noise, weight = (at_moment(part) for part in (clips.clean, clips.noise, clips.weight))
        of_clips = Examples(clips.named, clips.said, clean, clean, weight, noise, clips.level)
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
        far = (clean - self._means[scene]).square().mean(1, keepdim=True)
        far = F.avg_pool3d(far, (1, 3, 3), stride=1, padding=(0, 1, 1), count_include_pad=False)
        weight = 1.0 + (far / far.mean((1, 3, 4), keepdim=True).clamp(min=1e-6)).clamp(max=4.0)
        return weight / weight.mean((1, 2, 3, 4), keepdim=True)

    def _with_first_picture(self, noisy: Tensor, batch: Examples, text: Tensor) -> Tensor:
        """Half of the clips have their first picture clean, as the 5B's pipeline gives it: its tokens are at time 0."""
        count, _, frames, height, width = noisy.shape
        free = torch.ones(count, 1, frames, 1, 1, device=noisy.device)
        if frames > 1:
            free[:, :, 0] = (torch.rand(count, device=noisy.device) < 0.5).float().view(-1, 1, 1, 1)
        given = free * noisy + (1 - free) * batch.clean
        times = (free * batch.level * 1000).expand(-1, -1, -1, height // 2, width // 2).flatten(1)
        seen = self.dit(given, times, text, return_dict=False)[0]
        return ((seen.float() - (batch.noise - batch.clean)).square() * free * batch.weight).mean()

    def _levels(self, count: int) -> Tensor:
        """Noise levels between the expert's ends."""
        return levels(self._expert.noise, self._expert.shift, count, self._bank.device)
