"""A pupil whose transformer is in parts somebody else's: its own part is trained, and is kept in a file of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tools.tiny import autoencoders, checkpoint
from tools.tiny.lessons import Place


@dataclass
class PartPupil:
    """A pupil as lessons.learn takes it.

    lesson  has the model, `dit`, and the `bank` that it learns from
    needs   name of the one model that it is built on, whose weights take_over(dit, weights) puts into it
    part    what is trained of the model, by name
    """

    name: str
    place: Place
    lesson: Any
    needs: tuple[str, ...]
    take_over: Callable[[Any, dict[str, Tensor]], None]
    part: Callable[[Any], dict[str, Tensor]]
    vae: str = "vae21"

    def __post_init__(self) -> None:
        if self.place.mode == "compiled":
            self.lesson.dit.compile_repeated_blocks(fullgraph=True, dynamic=False)

    def begin(self) -> None:
        """The weights to go on from, and a bank of clips in the latents of the VAE."""
        from safetensors.torch import load_file

        place, bank = self.place, self.lesson.bank
        self.take_over(self.lesson.dit, load_file(place.weights(self.needs[0])))
        if place.weights(self.name).is_file():
            self.lesson.dit.load_state_dict(load_file(place.weights(self.name)), strict=False)
        bank.serve(autoencoders.load(self.vae, place.weights(self.vae)))
        while bank.count < place.effort.first_fill // 2:
            bank.refresh()

    def save(self) -> None:
        checkpoint.write(self.part(self.lesson.dit), self.place.weights(self.name))

    def close(self) -> None:
        """Clips are drawn anew by whoever goes on."""
