"""Trains a VACE: the experts of text to video as they are, and blocks beside them that are shown what to keep.

Only those blocks are trained, the layer that leads to them, and what is small: the layer that leads out. They ship as a
part of their own; models.weights.trained puts them together with the experts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tools.tiny import edits, words
from tools.tiny.noise import levels, precision, said
from tools.tiny.ring import Ring
from tools.tiny.sizes import DITS, FRAMES

#: layers that the blocks beside them speak to
LAYERS = (0, 2)
#: first words of the names of what is trained
TRAINED = ("vace_", "proj_out", "scale_shift_table")
#: what the pipeline shows: what is kept, what lies under the mask, the mask
_SHOWN = (16, 16, 64)
_VAE = "vae21"
#: clips of a step, at the most
_BATCH = 64


@dataclass(frozen=True)
class VaceExpert:
    """Which expert of text to video it stands on, the noise between which it works, and the shift of its levels."""

    base: str
    noise: tuple[float, float]
    shift: float


ROLES = {
    "vace-high": VaceExpert("t2v-high", (0.875, 1.0), 5.0),
    "vace-low": VaceExpert("t2v-low", (0.0, 0.875), 3.0),
}


def blank() -> Any:
    """The transformer, before it stands on an expert."""
    from diffusers import WanVACETransformer3DModel

    dit = WanVACETransformer3DModel(**DITS["t2v"], vace_layers=list(LAYERS), vace_in_channels=sum(_SHOWN))
    for name, weight in dit.named_parameters():
        weight.requires_grad_(name.startswith(TRAINED))
    return dit


@torch.no_grad()
def stand_on(dit: Any, expert: dict[str, Tensor]) -> None:
    """Take over an expert's weights: it draws what that one draws, the blocks beside it being silent at first. They see
    what is kept as the expert sees a clip, laid over the noisy one."""
    dit.load_state_dict(expert, strict=False)
    dit.vace_patch_embedding.weight[:, : _SHOWN[0]] = dit.patch_embedding.weight
    torch.nn.init.eye_(dit.vace_blocks[0].proj_in.weight)
    torch.nn.init.zeros_(dit.vace_blocks[0].proj_in.bias)
    for layer, block in zip(LAYERS, dit.vace_blocks, strict=True):
        block.load_state_dict(dit.blocks[layer].state_dict(), strict=False)
        torch.nn.init.zeros_(block.proj_out.weight)
        torch.nn.init.zeros_(block.proj_out.bias)


def part(dit: Any) -> dict[str, Tensor]:
    """What is trained of it, by name."""
    return {name: weight for name, weight in dit.named_parameters() if name.startswith(TRAINED)}


class EditBank(Ring):
    """Random edits; `refresh` draws the oldest anew."""

    def __init__(self, device: Any, *, size: int, piece: int) -> None:
        super().__init__(_VAE, device, size=size, piece=piece)
        latents = (5, self._side // 8, self._side // 8)
        self.clean = torch.zeros(size, 16, *latents, device=device, dtype=torch.bfloat16)
        self.shown = torch.zeros(size, 32, *latents, device=device, dtype=torch.bfloat16)
        self.masks = torch.zeros(size, 5, self._side, self._side, device=device, dtype=torch.bool)
        self.weight = torch.zeros(size, 1, *latents, device=device, dtype=torch.bfloat16)
        self.named = torch.zeros(size, 4, dtype=torch.long, device=device)
        #: which words a picture or a clip under the mask tells as well
        self.told = torch.zeros(size, 4, dtype=torch.bool, device=device)

    @torch.no_grad()
    def refresh(self) -> None:
        """One piece in four is drawn after a picture."""
        number = self.count // self._piece
        if number % 4 == 3:
            self._refer()
        else:
            self._edit()

    def _edit(self) -> None:
        some = edits.some(self._piece, FRAMES, self._side, self.device)
        kept, drawn = some.given * (1 - some.masks), some.given * some.masks
        clean, *shown = self._encoded(torch.cat([some.clips, kept, drawn])).chunk(3)
        told = some.guided[:, None] & self._words(1, 2)
        free, thing = edits.in_latents(some.masks), edits.in_latents(some.things)
        self._fill(clean, torch.cat(shown, 1), edits.picked(some.masks), _weight(free, thing), some.scenes.named, told)

    def _refer(self) -> None:
        """The picture comes first, as one more moment of the latents; all others are to be drawn."""
        some = edits.referred(self._piece, FRAMES - 4, self._side, self.device)
        clean, grey = self._encoded(torch.cat([some.clips, torch.zeros_like(some.clips)])).chunk(2)
        picture = self._encoded(some.pictures)
        nothing = torch.cat([torch.zeros_like(picture), grey], 2)
        masks = torch.ones_like(self.masks[: self._piece])
        masks[:, 0] = False
        thing = edits.in_latents(some.things)
        free = torch.cat([torch.zeros_like(thing[:, :, :1]), torch.ones_like(thing)], 2)
        weight = _weight(free, torch.cat([torch.zeros_like(thing[:, :, :1]), thing], 2))
        told = self._words(0, 1).expand(self._piece, -1)
        shown = torch.cat([torch.cat([picture, grey], 2), nothing], 1)
        self._fill(torch.cat([picture, clean], 2), shown, masks, weight, some.scenes.named, told)

    def _words(self, *slots: int) -> Tensor:
        """(1, 4) whether a slot is among them."""
        number = torch.arange(4, device=self.device)
        return ((number == slots[0]) | (number == slots[1]))[None]

    def _fill(self, clean: Tensor, shown: Tensor, masks: Tensor, weight: Tensor, named: Tensor, told: Tensor) -> None:
        held = (self.clean, self.shown, self.masks, self.weight, self.named, self.told)
        self._put(*zip(held, (clean, shown, masks, weight, named, told), strict=True))


def _weight(free: Tensor, thing: Tensor) -> Tensor:
    """(B, 1, t, H/8, W/8), 1 in the mean: most where the thing is drawn anew, least where all is given."""
    weight = 0.4 + free * (0.6 + 1.5 * thing)
    return weight / weight.mean((1, 2, 3, 4), keepdim=True)


class Keeping:
    """To see the noise in edited clips, as the pipeline shows them."""

    def __init__(self, dit: Any, role: VaceExpert, bank: EditBank, table: Tensor, *, batch: int) -> None:
        from tools.tiny.experts import ShortText

        self.dit, self.bank, self._role, self._batch = dit, bank, role, batch
        self._table = table.to(bank.device)
        dit.set_attn_processor(ShortText())

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
        level = levels(self._role.noise, self._role.shift, count, device).view(-1, 1, 1, 1, 1)
        shown = torch.cat([bank.shown[rows].float(), edits.spread(bank.masks[rows].float())], 1)
        text = self._table[words.row(bank.named[rows], self._said(bank.told[rows]))]
        noisy = level * noise + (1 - level) * clean
        with precision(device):
            seen = self.dit(noisy, level.flatten() * 1000, text, control_hidden_states=shown, return_dict=False)[0]
        return ((seen.float() - (noise - clean)).square() * bank.weight[rows].float()).mean()

    def _said(self, told: Tensor) -> Tensor:
        """(B, 4) which words are said: of those that are told otherwise every second."""
        return said(self._batch, told.device) & ~(told & (torch.rand(told.shape, device=told.device) < 0.5))


def learn(name: str, place: Any, budget: Callable[[], Any], rate: float = 1.5e-3) -> None:
    """Train `vace-high` or `vace-low` within its budget (lessons.learn)."""
    from tools.tiny import lessons, partial

    effort, role = place.effort, ROLES[name]
    bank = EditBank(place.device, size=effort.bank, piece=effort.piece)
    dit, table = blank().to(place.device).train(), words.load_table(place.folder / "words")
    lesson = Keeping(dit, role, bank, table, batch=min(effort.batch, _BATCH))
    pupil = partial.PartPupil(name, place, lesson, (role.base,), stand_on, part)
    lessons.learn(name, pupil, place, budget, rate)
