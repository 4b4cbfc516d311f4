"""The `options` of a request: which of them a model reads, and which approximations are right on which pipeline. Pure.

The table was made by running every cache on every pipeline against the same render without it: a cache that stores the
difference between a model's ends also stores what VACE's hints and Animate's faces add from outside the blocks, and
adds it twice; one that keys on the picture finds none where the picture is only a part of the input.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from models.catalog.model import Model, ShapeError

#: below this many steps too little is alike between two of them: an approximation costs more than it saves
MIN_LOSSY_STEPS = 8


@dataclass(frozen=True)
class Lossy:
    """An approximation that a job may ask for by name: faster, and other frames.

    kinds       the kinds of pipeline (kind_of) on which it is right
    guided      whether it tells the guided from the unguided pass; without that it is only for guidance <= 1
    """

    title: str
    kinds: frozenset[str]
    guided: bool = True


_PLAIN = frozenset({"t2v", "i2v", "ti2v-t2v", "ti2v-i2v"})
_EVERY = _PLAIN | {"vace", "animate"}

LOSSY: dict[str, Lossy] = {
    "first_block": Lossy("skips the other blocks of a step while the first one's output hardly changes", _PLAIN),
    "mag": Lossy("skips steps by how much each changed in a calibration run of these weights", _PLAIN),
    "sea": Lossy("skips steps while the picture's spectrum hardly changes", frozenset({"t2v", "ti2v-t2v"})),
    "taylorseer": Lossy("continues the model's last outputs as a Taylor series, four steps of five", _EVERY),
    # its memory of an attention's output is one for both passes: with guidance each would be shown the other's
    "pab": Lossy("uses an attention's output for two steps", _EVERY, guided=False),
}

#: who spaces the steps of a render; the first one when nothing is said
TIMESTEPS = ("diffusers", "wan")

#: option -> what it does and what it takes, for people
OPTIONS: dict[str, str] = {
    "lossy": f"approximate to be faster; one of {', '.join(LOSSY)}. The frames are others than without it",
    "timesteps": "whose spacing of the steps: diffusers, or wan for Wan's own program; diffusers when left out",
    "conditioning_scale": "VACE: how strongly the clip and the pictures bind, 0 to 2; 1 when left out",
    "several": "Animate: with several people in a clip, refuse it or follow the largest; refuse when left out",
    "retarget": "Animate, move: true gives the skeleton the picture's proportions; false when left out",
    "mask_blocks": "Animate, replace: [across, down] blocks, 1 to 40 each, to fill the mask up in; [1, 1] is its box",
}


def kind_of(model: Model, task: str) -> str:
    """t2v, i2v, ti2v-t2v, ti2v-i2v, vace, animate, or the class name of a pipeline without approximations."""
    name = model.pipeline[task]
    kind = {
        "WanPipeline": "t2v",
        "WanImageToVideoPipeline": "i2v",
        "WanVACEPipeline": "vace",
        "WanAnimatePipeline": "animate",
    }.get(name, name)
    # one transformer for both, whose picture is the start of the clip itself and not an input beside it
    return f"ti2v-{kind}" if kind in ("t2v", "i2v") and model.experts == 1 else kind


def lossy_for(model: Model, task: str, guidance: float | None = None) -> list[str]:
    """The approximations that are right for the task, at the model's own guidance or the given one."""
    guidance = model.defaults.guidance if guidance is None else guidance
    kind = kind_of(model, task)
    if model.sigmas is not None:
        return []
    return [name for name, how in LOSSY.items() if kind in how.kinds and (how.guided or guidance <= 1)]


def check(model: Model, task: str, steps: int, guidance: float, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the renderer takes them. ShapeError on the field `options.<name>` for one that is unknown, that
    this model does not read, or whose value is wrong; a value of None counts as left out."""
    checked = {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise ShapeError(f"options.{name}"[:100], f"is not an option; the options are {', '.join(OPTIONS)}")
        if value is None:
            continue
        if name == "lossy":
            checked[name] = _lossy(model, task, steps, guidance, value)
            continue
        if name == "timesteps":
            checked[name] = _timesteps(model, task, value)
            continue
        kind, tasks, take = _TAKE[name]
        if task not in tasks or kind_of(model, task) != kind:
            raise ShapeError(f"options.{name}", f"{task} of {model.id} does not read it")
        checked[name] = take(f"options.{name}", value)
    return checked


def _lossy(model: Model, task: str, steps: int, guidance: float, value: Any) -> str:
    field = "options.lossy"
    if not isinstance(value, str) or value not in LOSSY:
        raise ShapeError(field, f"{str(value)[:50]!r} is none of {', '.join(LOSSY)}")
    right = lossy_for(model, task, guidance)
    offer = f"right here: {', '.join(right)}" if right else "nothing is approximated here"
    if model.sigmas is not None:
        raise ShapeError(field, f"{model.id} is distilled to {len(model.sigmas)} steps; {offer}")
    if kind_of(model, task) not in LOSSY[value].kinds:
        raise ShapeError(field, f"{value} gives wrong frames with {task} of {model.id}; {offer}")
    if value not in right:
        raise ShapeError(field, f"{value} is only right without guidance (guidance at most 1); {offer}")
    if steps < MIN_LOSSY_STEPS:
        raise ShapeError(field, f"gains nothing in {steps} steps; it takes at least {MIN_LOSSY_STEPS}")
    return value


def _timesteps(model: Model, task: str, value: Any) -> str:
    field = "options.timesteps"
    if value not in TIMESTEPS:
        raise ShapeError(field, f"{str(value)[:50]!r} is neither {' nor '.join(TIMESTEPS)}")
    if model.sigmas is not None:
        raise ShapeError(field, f"{model.id} is distilled to timesteps of its own")
    if kind_of(model, task) not in _EVERY:
        raise ShapeError(field, f"{model.id} has another solver, whose timesteps are its own")
    return str(value)


def _scale(field: str, value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or not 0 <= value <= 2
    ):
        raise ShapeError(field, "must be a number from 0 to 2")
    return float(value)


def _several(field: str, value: Any) -> str:
    if value not in ("refuse", "largest"):
        raise ShapeError(field, f"{str(value)[:50]!r} is neither refuse nor largest")
    return str(value)


def _retarget(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ShapeError(field, "must be true or false")
    return value


def _blocks(field: str, value: Any) -> list[int]:
    whole = isinstance(value, (list, tuple)) and all(type(side) is int and 1 <= side <= 40 for side in value)
    if not whole or len(value) != 2:
        raise ShapeError(field, "must be two whole numbers from 1 to 40, [across, down]")
    return list(value)


#: option -> (the kind of pipeline and the tasks that read it, how its value is taken)
_TAKE: dict[str, tuple[str, tuple[str, ...], Callable[[str, Any], Any]]] = {
    "conditioning_scale": ("vace", ("vace", "r2v"), _scale),
    "several": ("animate", ("animate", "replace"), _several),
    "retarget": ("animate", ("animate",), _retarget),
    "mask_blocks": ("animate", ("replace",), _blocks),
}
