"""Settles the shape that a model renders: task, size, limits, and the work in TFLOP. Pure.

Sources: Wan's own size rule, and a count of the transformers' floating-point operations (the work formula).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.catalog.model import AREAS, TEXT_TOKENS, Limits, Model, ShapeError, segments_of


def canvas(model: Model, width: int, height: int) -> tuple[int, int]:
    """(width, height) that is rendered for a clip of that size: the next multiples of the model's step. The middle of
    it becomes the clip."""
    step = model.limits.multiple
    return -(-width // step) * step, -(-height // step) * step


def tokens(model: Model, width: int, height: int, frames: int) -> int:
    """The number of the transformer's tokens for a clip: patches of 2 x 2 latents."""
    time, high, wide = model.vae_stride
    width, height = canvas(model, width, height)
    return (1 + (frames - 1) // time) * (height // (high * 2)) * (width // (wide * 2))


def forward_tflop(model: Model, width: int, height: int, frames: int) -> float:
    """TFLOP of one transformer forward. N tokens; linear + self-attention + cross-attention + ends."""
    n = tokens(model, width, height, frames)
    d, f, layers = model.dit.dim, model.dit.ffn, model.dit.layers
    linear = layers * (12 * n * d * d + 4 * TEXT_TOKENS * d * d + 4 * n * d * f)
    attention = layers * (4 * n * n * d + 4 * n * TEXT_TOKENS * d)
    ends = 8 * n * (model.dit.in_channels + model.dit.out_channels) * d
    ends += 2 * TEXT_TOKENS * (4096 * d + d * d)
    return (linear + attention + ends) / 1e12


def work_tflop(model: Model, *, width: int, height: int, frames: int, steps: int, guidance: float) -> float:
    """TFLOP of a whole render: every step is two forwards when guidance is on (> 1). A segment's reference picture is
    one latent frame more."""
    pieces = segments_of(model, frames)
    length = frames if model.segment is None else model.segment[0] + model.vae_stride[0]
    forwards = steps * pieces * (2 if guidance > 1 else 1)
    return forward_tflop(model, width, height, length) * forwards * model.effort


@dataclass(frozen=True)
class Settled:
    """A shape with every default filled in and every limit checked."""

    model: Model
    task: str
    width: int
    height: int
    frames: int
    fps: float
    steps: int
    guidance: float
    guidance_2: float | None
    shift: float

    @property
    def work_tflop(self) -> float:
        """TFLOP of the whole render."""
        return work_tflop(
            self.model,
            width=self.width,
            height=self.height,
            frames=self.frames,
            steps=self.steps,
            guidance=self.guidance,
        )


def task_for(model: Model, roles: frozenset[str], asked: str | None = None) -> str:
    """The task that the given input roles mean for the model. ShapeError names the missing role."""
    if asked is not None:
        if asked not in model.tasks:
            raise ShapeError("task", f"{model.id} does {', '.join(model.tasks)}, not {asked!r}")
        missing = [r for r in model.tasks[asked] if r not in roles]
        if missing:
            raise ShapeError(missing[0], f"{asked} needs {' and '.join(missing)}")
        return asked
    # the task that uses most of the given inputs
    fitting = [t for t, needs in model.tasks.items() if set(needs) <= roles]
    if not fitting:
        needs = " or ".join(" and ".join(n) for n in model.tasks.values())
        raise ShapeError(next(iter(model.tasks.values()))[0], f"{model.id} needs {needs}")
    best = max(fitting, key=lambda t: (len(roles & set(model.roles(t))), len(model.tasks[t])))
    unused = roles - set(model.roles(best))
    if unused:
        role = sorted(unused)[0]
        raise ShapeError(role, f"{model.id} takes no {role}")
    return best


def size_for(model: Model, resolution: str, aspect: float) -> tuple[int, int]:
    """(width, height) of a resolution word at an aspect ratio (width / height) that was asked by name."""
    areas = model.resolutions
    if resolution.lower() not in areas:
        raise ShapeError("resolution", f"{resolution!r} is none of {', '.join(areas)}")
    area = areas[resolution.lower()]
    return size_of_area(model, area, named_aspect(model, area, aspect))


def named_aspect(model: Model, area: int, aspect: float) -> float:
    """The aspect to use for a requested one. Wan's 832 x 480 is commonly called 16:9, which it is not exactly: 16:9
    and 9:16 mean the frame that the model was trained in."""
    for width, height in model.frames.values():
        for named, own in ((16 / 9, width / height), (9 / 16, height / width)):
            if area == width * height and abs(aspect - named) < 1e-6:
                return own
    return aspect


def size_of_area(model: Model, area: int, aspect: float) -> tuple[int, int]:
    """(width, height) of about `area` pixels at an aspect ratio, by the model's own rule: both rounded down to its
    multiple; or, where it fills the area, one rounded down and the other as large as is left, whichever is nearer."""
    # a square root may come out a hair below the whole number that it is
    step = model.limits.multiple
    height = int((area / aspect) ** 0.5 + 1e-6) // step * step
    width = int((area * aspect) ** 0.5 + 1e-6) // step * step
    square = abs(aspect - 1) < 1e-6  # the rule would make 640 x 608 of it, which nobody means
    if square or not model.limits.fills_area or not width or not height:
        return width, height
    by_width, by_height = (width, area // width // step * step), (area // height // step * step, height)
    off = [max(aspect * high / wide, wide / high / aspect) for wide, high in (by_width, by_height)]
    return by_width if off[0] < off[1] else by_height


def settle(model: Model, task: str, asked: Mapping[str, Any]) -> Settled:
    """Fill the model's defaults into `asked` (keys of Defaults; None means default) and check every limit.

    Raises ShapeError with the field and what would be accepted.
    """
    d, lim = model.defaults, model.limits
    value = {
        k: asked[k] if asked.get(k) is not None else getattr(d, k)
        for k in ("width", "height", "frames", "fps", "steps", "guidance", "guidance_2", "shift")
    }
    for side in ("width", "height"):
        _side(side, value[side], lim)
    if value["width"] * value["height"] > lim.max_pixels:
        raise ShapeError(
            "width", f"{value['width']}x{value['height']} is more than the model's {lim.max_pixels} pixels"
        )
    if model.follows:
        _between("frames", value["frames"], 2, lim.max_frames)
    else:
        _frames(value["frames"], lim)
        _between("fps", value["fps"], lim.min_fps, lim.max_fps)
    _between("steps", value["steps"], lim.min_steps, lim.max_steps)
    _between("guidance", value["guidance"], 0, lim.max_guidance)
    _between("shift", value["shift"], 0.1, 30)
    if value["guidance_2"] is not None:
        if model.experts == 1:
            raise ShapeError("guidance_2", f"{model.id} has one expert; leave guidance_2 out")
        _between("guidance_2", value["guidance_2"], 0, lim.max_guidance)
    if value["guidance"] <= 1 and value["guidance_2"] is not None and value["guidance_2"] > 1:
        # the pipelines look at `guidance` alone to decide whether there is any
        if asked.get("guidance_2") is not None:
            raise ShapeError("guidance_2", "has no effect while guidance is at most 1: raise guidance, or leave it out")
        value["guidance_2"] = value["guidance"]
    return Settled(model=model, task=task, **value)


def _between(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        if low == high:
            raise ShapeError(field, f"{value} is not {low}, the only value that this model takes")
        raise ShapeError(field, f"{value} is not between {low} and {high}")


def _side(field: str, value: int, lim: Limits) -> None:
    _between(field, value, lim.min_side, lim.max_side)
    if value % 2:
        near = [v for v in (value - 1, value + 1) if lim.min_side <= v <= lim.max_side]
        raise ShapeError(field, f"{value} is odd, and a video's sides are even; nearest: {' or '.join(map(str, near))}")


def _frames(value: int, lim: Limits) -> None:
    _between("frames", value, 5, lim.max_frames)
    if (value - 1) % 4:
        below = (value - 1) // 4 * 4 + 1
        near = [v for v in (below, below + 4) if v <= lim.max_frames]
        raise ShapeError("frames", f"{value} is not 4n+1; nearest: {' or '.join(map(str, near))}")


def resolution_word(width: int, height: int) -> str:
    """The resolution word ("480p") whose area is nearest to that of a picture of `width` x `height` pixels."""
    return min(AREAS, key=lambda word: abs(AREAS[word] - width * height))
