"""Teaches the tiny text to video a style, a LoRA for each expert: the world in ink, without any colour.

As a user's own LoRA is made: clips in that style, the captions of the same clips in colour, everything else frozen.
"""

from typing import Any

import torch
from torch import Tensor

from tools.tiny import adapters, words, world
from tools.tiny.experts import EXPERTS, Bank, Expert
from tools.tiny.noise import levels, precision, said

RANK = 4
NAMES = ("t2v-ink-high", "t2v-ink-low")
#: clips that there are before the first step
_FIRST = 512


class InkBank(Bank):
    """Latents of clips in ink."""

    def _encoded(self, clips: Tensor) -> Tensor:
        return super()._encoded(world.ink(clips))


class Style:
    """Both experts at their noise levels, on clips of the style; each sees `batch` of them in a step."""

    def __init__(self, experts: tuple[Any, Any], bank: Bank, table: Tensor, *, batch: int, first: int = _FIRST) -> None:
        self.experts, self._bank, self._batch, self._first = experts, bank, batch, first
        #: high, low: the weights of each
        self.bare = tuple((adapters.freeze(expert),) for expert in experts)
        self.adapters = {name: adapters.put_on(expert, RANK) for name, expert in zip(NAMES, experts, strict=True)}
        self._table = table.to(bank.device)

    @property
    def parameters(self) -> list[Tensor]:
        return adapters.weights(self.adapters)

    def feed(self) -> None:
        self._bank.refresh()
        while self._bank.vae is not None and int(self._bank.filled) < self._first:
            self._bank.refresh()

    def loss(self) -> Tensor:
        return self._loss(0, EXPERTS["t2v-high"]) + self._loss(1, EXPERTS["t2v-low"])

    def _loss(self, number: int, expert: Expert) -> Tensor:
        bank, device, count = self._bank, self._bank.device, self._batch
        rows = (torch.rand(count, device=device) * bank.filled).long()
        clean = bank.latents[rows].float()
        text = self._table[words.row(bank.named[rows], said(count, device))]
        level, noise = levels(expert.noise, expert.shift, count, device).view(-1, 1, 1, 1, 1), torch.randn_like(clean)
        noisy = level * noise + (1 - level) * clean
        with precision(device):
            seen = self.experts[number](noisy, level.flatten() * 1000, text, return_dict=False)[0]
        return (seen.float() - (noise - clean)).square().mean()
