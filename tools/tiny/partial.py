"""Trains a part of a transformer, whose other parts are somebody else's, and keeps that part in a file of its own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from tools.tiny.average import Average
from tools.tiny.loop import Budget, train


def learn_part(
    lesson: Any, name: str, place: Any, budget: Budget, rate: float, part: Callable[[Any], dict[str, Tensor]]
) -> None:
    """Train `lesson`, whose model is `lesson.dit`, and leave `part` of the model in the file of `name`.

    place   lessons.Place
    """
    path, average = place.weights(name), Average(lesson.parameters)

    def keep() -> None:
        average.swap()
        save(part(lesson.dit), path)
        average.swap()

    train(
        lesson,
        budget,
        name=name,
        rate=rate,
        log=place.log,
        feeds_every=place.effort.feeds_every,
        average=average,
        on_save=keep,
        save_every_s=60.0 if place.device.type == "cuda" else 300.0,
        state=place.state(name),
        record=place.recorded,
    )
    if average.count > 20:
        average.swap()
    save(part(lesson.dit), path)
    place.state(name).unlink(missing_ok=True)
    place.done(name).touch()


def save(weights: dict[str, Tensor], path: Path) -> None:
    """Whole or not at all."""
    from safetensors.torch import save_file

    draft = path.with_suffix(".draft")
    save_file({name: weight.detach().cpu().contiguous() for name, weight in weights.items()}, draft)
    os.replace(draft, path)
