"""Distils the tiny text to video to four steps without guidance: a LoRA for each expert, in place of lightx2v's.

The student takes the few steps of the farm's lane (models.catalog, `T2V_4STEP`). From every point that it comes to, the
teacher, which is the experts as they are with their guidance, goes the same way in smaller steps; the student learns to
be where the teacher is then. Needs no clips: texts and noise alone.
"""

import copy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from models import catalog
from tools.tiny import adapters, words, world
from tools.tiny.noise import precision

#: steps of the teacher for one of the student's
PARTS = 4
RANK = 8
NAMES = ("t2v-4step-high", "t2v-4step-low")
_LANE, _TEACHER = (catalog.get(catalog.tiny_of(model.id)) for model in (catalog.T2V_4STEP, catalog.T2V_A14B))
#: noise level from which on the first expert works
_BOUNDARY = _LANE.boundary or 0.0


class Distillation:
    """Four steps from noise to a clip, each of which is learned where the ones before it lead.

    experts     high, low: what they predict is what they learned, and they stay so
    batch       clips of a step; frames: of their latents
    """

    def __init__(
        self, experts: tuple[Any, Any], table: Tensor, *, batch: int, frames: int = 5, parts: int = PARTS
    ) -> None:
        self.teachers = experts
        self.students = tuple(copy.deepcopy(expert) for expert in experts)
        #: high, low: the weights of each, of teacher and student
        self.bare = tuple(
            (adapters.freeze(teacher), adapters.freeze(student))
            for teacher, student in zip(self.teachers, self.students, strict=True)
        )
        self.adapters = {
            name: adapters.put_on(student, RANK) for name, student in zip(NAMES, self.students, strict=True)
        }
        self._table, self._device = table, table.device
        self._shape = (batch, experts[0].config.out_channels, frames, 16, 16)
        self._parts = parts

    @property
    def parameters(self) -> list[Tensor]:
        return adapters.weights(self.adapters)

    def feed(self) -> None:
        """Texts and noise are drawn in `loss`."""

    def loss(self) -> Tensor:
        count, device = self._shape[0], self._device
        named = world.some(count, device).named
        text = self._table[words.row(named, torch.rand(count, 4, device=device) > 0.08)]
        empty = self._table[-1:].expand_as(text)
        at = torch.randn(self._shape, device=device)
        losses = []
        with precision(device):
            for begin, end in spans():
                number = 0 if shifted(begin) >= _BOUNDARY else 1
                goal, weight = self._taught(number, at, text, empty, begin, end)
                way = shifted(begin) - shifted(end)
                time = torch.full((count,), shifted(begin) * 1000, device=device)
                seen = self.students[number](at, time, text, return_dict=False)[0].float()
                losses.append(((seen - (at - goal) / way).square() * weight).mean())
                # half of the clips go on from where the teacher is: a lost student learns nothing of its later steps
                own = (torch.rand(count, 1, 1, 1, 1, device=device) < 0.5).float()
                at = (own * (at - way * seen) + (1 - own) * goal).detach()
        return torch.stack(losses).mean()

    @torch.no_grad()
    def _taught(
        self, number: int, at: Tensor, text: Tensor, empty: Tensor, begin: float, end: float
    ) -> tuple[Tensor, Tensor]:
        """Where the teacher comes to from there, and (B, 1, T, H, W), 1 in the mean: more where the text matters."""
        guidance = (_TEACHER.defaults.guidance, _TEACHER.defaults.guidance_2)[number]
        assert guidance is not None
        both, weight = torch.cat([text, empty]), at.new_ones(())
        for part in range(self._parts):
            here, next_ = (shifted(begin + (end - begin) * share / self._parts) for share in (part, part + 1))
            time = torch.full((2 * at.shape[0],), here * 1000, device=at.device)
            told, untold = self.teachers[number](torch.cat([at, at]), time, both, return_dict=False)[0].float().chunk(2)
            if part == 0:
                far = (told - untold).square().mean(1, keepdim=True)
                far = 0.5 + (far / far.mean((1, 2, 3, 4), keepdim=True).clamp(min=1e-8)).clamp(max=4.0)
                weight = far / far.mean((1, 2, 3, 4), keepdim=True)
            at = at - (here - next_) * (untold + guidance * (told - untold))
        return at, weight


def spans() -> list[tuple[float, float]]:
    """From where to where each step goes, before the shift: 1 is noise, 0 a clip."""
    levels = [*(_LANE.sigmas or ()), 0.0]
    return list(pairwise(levels))


def shifted(level: float) -> float:
    """How much noise there is at a level of the lane's schedule."""
    shift = _LANE.defaults.shift
    return shift * level / (1 + (shift - 1) * level)
