"""The LoRAs that are trained beside the models, each a lesson of its own: `python -m tools.tiny t2v-4step`."""

from collections.abc import Callable
from typing import Any

from tools.tiny import adapters, autoencoders, distil, style, words
from tools.tiny.average import Average
from tools.tiny.lessons import Place, finish, load_expert, wait
from tools.tiny.loop import Budget, train

LEARNING_RATE = 2e-3


def _pair(place: Place) -> tuple[Any, Any]:
    return load_expert("t2v-high", place), load_expert("t2v-low", place)


def _four_steps(place: Place) -> distil.Distillation:
    table = words.load_table(place.folder / "words").to(place.device)
    return distil.Distillation(_pair(place), table, batch=max(2, place.effort.batch // 4))


def _ink(place: Place) -> style.Style:
    effort = place.effort
    bank = style.InkBank("t2v", "vae21", place.device, size=max(effort.bank // 4, effort.piece), piece=effort.piece)
    bank.serve(autoencoders.load("vae21", place.weights("vae21")))
    table = words.load_table(place.folder / "words")
    return style.Style(_pair(place), bank, table, batch=max(2, effort.batch // 2), first=effort.first_fill)


_MAKERS: dict[str, Callable[[Place], distil.Distillation | style.Style]] = {"t2v-4step": _four_steps, "t2v-ink": _ink}
NAMES = tuple(_MAKERS)


def make(name: str, place: Place) -> distil.Distillation | style.Style:
    """The lesson of that name, going on from what lies in the folder. Its models must be trained already."""
    wait(place, "vae21", ("t2v-high", "t2v-low"))
    lesson = _MAKERS[name](place)
    adapters.load(lesson.adapters, place.folder)
    return lesson


def learn(name: str, place: Place, budget: Callable[[], Budget], rate: float = LEARNING_RATE) -> None:
    """Train it and leave its files, one for each expert."""
    lesson = make(name, place)
    average = Average(lesson.parameters)
    train(
        lesson,
        budget(),
        name=name,
        rate=rate,
        log=place.log,
        feeds_every=place.effort.feeds_every,
        average=average,
        state=place.state(name),
        record=place.recorded,
    )
    finish(average)
    adapters.save(lesson.adapters, place.folder)
    place.state(name).unlink(missing_ok=True)
    place.done(name).touch()
