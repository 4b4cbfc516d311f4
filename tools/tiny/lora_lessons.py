"""The LoRAs that are trained beside the models, a file for each expert: `python -m tools.tiny t2v-4step --out DIR`."""

from typing import Any

from tools.tiny import adapters, autoencoders, distil, experts, style, words
from tools.tiny.lessons import Place

NAMES = ("t2v-4step", "t2v-ink")
RATE = 2e-3


class LoraPupil:
    """A pupil: what is learned beside both experts of text to video, which stay as they are."""

    needs: tuple[str, ...] = ("t2v-high", "t2v-low")
    vae = "vae21"

    def __init__(self, name: str, place: Place) -> None:
        self._place, self._bank = place, None
        pair = tuple(self._expert(needed) for needed in self.needs)
        table = words.load_table(place.folder / "words").to(place.device)
        effort = place.effort
        self.lesson: distil.Distillation | style.Style
        if name == "t2v-4step":
            self.lesson = distil.Distillation(pair, table, batch=max(2, effort.batch // 3))
            dits = (*self.lesson.teachers, *self.lesson.students)
        else:
            size = max(effort.bank // 3, effort.piece)
            self._bank = style.InkBank("t2v", self.vae, place.device, size=size, piece=effort.piece)
            first = min(effort.first_fill, size // 2)
            self.lesson = style.Style(pair, self._bank, table, batch=max(2, effort.batch // 2), first=first)
            dits = pair
        if place.mode == "compiled":
            for dit in dits:
                dit.compile_repeated_blocks(fullgraph=True, dynamic=False)

    def _expert(self, name: str) -> Any:
        dit = experts.make(name).to(self._place.device).eval()
        dit.set_attn_processor(experts.ShortText())
        return dit

    def begin(self) -> None:
        """The experts as they are by then, the VAE, and what was learned already."""
        for name, held in zip(self.needs, self.lesson.bare, strict=True):
            for weights in held:
                adapters.take(weights, self._place.weights(name))
        if self._bank is not None:
            self._bank.serve(autoencoders.load(self.vae, self._place.weights(self.vae)))
        adapters.load(self.lesson.adapters, self._place.folder)
        self.lesson.feed()

    def save(self) -> None:
        adapters.save(self.lesson.adapters, self._place.folder)

    def close(self) -> None:
        """Nothing else: clips are drawn anew."""
