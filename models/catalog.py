"""Every model that a job may name: what it is, what it accepts, what it costs to run. Pure; everyone may read it.

A pipeline is added by adding an entry here. Sources: the Wan 2.2 repository's configurations (steps, shift,
guidance, boundary) and a count of the transformers' floating-point operations (the work formula).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

#: the text encoder always pads to this many tokens
TEXT_TOKENS = 512
MAX_PROMPT_CHARS = 5000
MAX_SEED = 2**63 - 1


class ShapeError(ValueError):
    """A request that a model cannot render: `field` names what is wrong, the text says what would be right."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


@dataclass(frozen=True)
class Weights:
    """Where a model's weights come from: a hub repository at a pinned revision, or `tiny` (built here)."""

    repo: str | None = None
    revision: str | None = None
    tiny: bool = False


@dataclass(frozen=True)
class Dit:
    """The transformer's sizes, for the work formula."""

    dim: int
    ffn: int
    layers: int
    in_channels: int
    out_channels: int


@dataclass(frozen=True)
class Defaults:
    width: int
    height: int
    frames: int
    fps: int
    steps: int
    guidance: float
    guidance_2: float | None
    shift: float


@dataclass(frozen=True)
class Limits:
    """`multiple`: width and height are multiples of it, in pixels. max_pixels: width x height."""

    multiple: int = 16
    min_side: int = 256
    max_side: int = 1920
    max_pixels: int = 1280 * 768
    max_frames: int = 161
    max_steps: int = 100
    min_fps: int = 4
    max_fps: int = 60


@dataclass(frozen=True)
class Model:
    """One catalog entry.

    tasks      task -> the input roles that it requires ("t2v" needs none, "i2v" needs "image")
    pipeline   task -> diffusers class name
    boundary   noise level at which the second expert takes over, None for a single expert
    vae_stride (time, height, width) pixels per latent
    external   only a provider can run it
    """

    id: str
    title: str
    tasks: Mapping[str, tuple[str, ...]]
    pipeline: Mapping[str, str]
    weights: Weights
    dit: Dit
    defaults: Defaults
    limits: Limits = field(default_factory=Limits)
    boundary: float | None = None
    vae_stride: tuple[int, int, int] = (4, 8, 8)
    precision: str = "bf16"
    loras: tuple[str, ...] = ()
    external: bool = False

    @property
    def experts(self) -> int:
        return 1 if self.boundary is None else 2

    @property
    def lane(self) -> str:
        """What must be loaded to run a job of this model with its own LoRAs: model, precision, LoRA set."""
        return lane_of(self)

    @property
    def resolutions(self) -> dict[str, int]:
        """Resolution word -> pixels of the area that it stands for."""
        return {w: a for w, a in AREAS.items() if a <= self.limits.max_pixels}


#: the areas that the resolution words mean (Wan's own SIZE and MAX_AREA tables)
AREAS = {"480p": 832 * 480, "580p": 1024 * 576, "720p": 1280 * 720}


def lane_of(model: Model, loras: tuple[str, ...] = ()) -> str:
    """The lane of a model with extra LoRAs, named by content hash: equal lanes need no reload between them."""
    parts = (*model.loras, *sorted(loras))
    return "+".join((f"{model.id}@{model.precision}", *parts))


def forward_tflop(model: Model, width: int, height: int, frames: int) -> float:
    """TFLOP of one transformer forward. N tokens; linear + self-attention + cross-attention + ends."""
    time, high, wide = model.vae_stride
    tokens = (1 + (frames - 1) // time) * (height // (high * 2)) * (width // (wide * 2))
    d, f, layers = model.dit.dim, model.dit.ffn, model.dit.layers
    linear = layers * (12 * tokens * d * d + 4 * TEXT_TOKENS * d * d + 4 * tokens * d * f)
    attention = layers * (4 * tokens * tokens * d + 4 * tokens * TEXT_TOKENS * d)
    ends = 8 * tokens * (model.dit.in_channels + model.dit.out_channels) * d
    ends += 2 * TEXT_TOKENS * (4096 * d + d * d)
    return (linear + attention + ends) / 1e12


def work_tflop(model: Model, *, width: int, height: int, frames: int, steps: int, guidance: float) -> float:
    """TFLOP of a whole render: every step is two forwards when guidance is on (> 1)."""
    return forward_tflop(model, width, height, frames) * steps * (2 if guidance > 1 else 1)


NEGATIVE = ""

_T2V = {"t2v": ()}
_I2V = {"i2v": ("image",)}
_TI2V = {"t2v": (), "i2v": ("image",)}

T2V_A14B = Model(
    id="wan2.2-t2v-a14b",
    title="Wan 2.2 text to video, 2 x 14B experts",
    tasks=_T2V,
    pipeline={"t2v": "WanPipeline"},
    weights=Weights(repo="Wan-AI/Wan2.2-T2V-A14B-Diffusers", revision="main"),
    dit=Dit(5120, 13824, 40, 16, 16),
    defaults=Defaults(832, 480, 81, 16, 40, 4.0, 3.0, 12.0),
    boundary=0.875,
)
I2V_A14B = Model(
    id="wan2.2-i2v-a14b",
    title="Wan 2.2 image to video, 2 x 14B experts",
    tasks=_I2V,
    pipeline={"i2v": "WanImageToVideoPipeline"},
    weights=Weights(repo="Wan-AI/Wan2.2-I2V-A14B-Diffusers", revision="main"),
    dit=Dit(5120, 13824, 40, 36, 16),
    defaults=Defaults(832, 480, 81, 16, 40, 3.5, 3.5, 5.0),
    boundary=0.9,
)
TI2V_5B = Model(
    id="wan2.2-ti2v-5b",
    title="Wan 2.2 text or image to video, 5B",
    tasks=_TI2V,
    pipeline={"t2v": "WanPipeline", "i2v": "WanImageToVideoPipeline"},
    weights=Weights(repo="Wan-AI/Wan2.2-TI2V-5B-Diffusers", revision="main"),
    dit=Dit(3072, 14336, 30, 48, 48),
    defaults=Defaults(1280, 704, 121, 24, 50, 5.0, None, 5.0),
    limits=Limits(multiple=32),
    vae_stride=(4, 16, 16),
)


def _tiny(model: Model, dit: Dit) -> Model:
    """The same pipeline with tiny random weights: real classes on a CPU in a second, pictures of noise."""
    return replace(
        model,
        id=f"{model.id}-tiny",
        title=f"{model.title} (tiny random weights: tests the plumbing, draws noise)",
        weights=Weights(tiny=True),
        dit=dit,
        precision="fp32",
        defaults=replace(model.defaults, width=128, height=128, frames=17, fps=16, steps=4),
        limits=replace(model.limits, min_side=model.limits.multiple * 2, max_frames=121),
    )


MODELS: dict[str, Model] = {
    m.id: m
    for m in (
        T2V_A14B,
        I2V_A14B,
        TI2V_5B,
        _tiny(T2V_A14B, Dit(24, 48, 2, 16, 16)),
        _tiny(I2V_A14B, Dit(24, 48, 2, 36, 16)),
        _tiny(TI2V_5B, Dit(24, 48, 2, 48, 48)),
    )
}


def get(model_id: str) -> Model:
    """The entry of that id; ShapeError on field "model" lists the known ids when there is none."""
    try:
        return MODELS[model_id]
    except KeyError:
        raise ShapeError("model", f"unknown model {model_id!r}; known: {', '.join(sorted(MODELS))}") from None


@dataclass(frozen=True)
class Settled:
    """A shape with every default filled in and every limit checked. `size_from` tells who chose the size."""

    model: Model
    task: str
    width: int
    height: int
    frames: int
    fps: int
    steps: int
    guidance: float
    guidance_2: float | None
    shift: float

    @property
    def work_tflop(self) -> float:
        return work_tflop(
            self.model,
            width=self.width,
            height=self.height,
            frames=self.frames,
            steps=self.steps,
            guidance=self.guidance,
        )


def task_for(model: Model, roles: frozenset[str], asked: str | None = None) -> str:
    """Which of the model's tasks the given input roles make, or ShapeError naming what is missing."""
    if asked is not None:
        if asked not in model.tasks:
            raise ShapeError("task", f"{model.id} does {', '.join(model.tasks)}, not {asked!r}")
        missing = [r for r in model.tasks[asked] if r not in roles]
        if missing:
            raise ShapeError(missing[0], f"{asked} needs {' and '.join(missing)}")
        return asked
    # the task that uses the most of what was given
    fitting = [t for t, needs in model.tasks.items() if set(needs) <= roles]
    if not fitting:
        needs = " or ".join(" and ".join(n) for n in model.tasks.values())
        raise ShapeError(next(iter(model.tasks.values()))[0], f"{model.id} needs {needs}")
    best = max(fitting, key=lambda t: len(model.tasks[t]))
    unused = roles - set(model.tasks[best])
    if unused:
        role = sorted(unused)[0]
        raise ShapeError(role, f"{model.id} takes no {role}")
    return best


def size_for(model: Model, resolution: str, aspect: float) -> tuple[int, int]:
    """(width, height) of a resolution word at an aspect ratio (width / height), by Wan's own rule:
    the area is the word's, the aspect is kept, both sides are rounded down to the model's multiple."""
    areas = model.resolutions
    if resolution.lower() not in areas:
        raise ShapeError("resolution", f"{resolution!r} is none of {', '.join(areas)}")
    return size_of_area(model, areas[resolution.lower()], aspect)


def size_of_area(model: Model, area: int, aspect: float) -> tuple[int, int]:
    """(width, height) of about `area` pixels at an aspect ratio: both rounded down to the model's multiple."""
    # a square root may come out a hair below the whole number that it is
    step = model.limits.multiple
    height = int((area / aspect) ** 0.5 + 1e-6) // step * step
    width = int((area * aspect) ** 0.5 + 1e-6) // step * step
    return width, height


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
    _frames(value["frames"], lim)
    _between("fps", value["fps"], lim.min_fps, lim.max_fps)
    _between("steps", value["steps"], 1, lim.max_steps)
    _between("guidance", value["guidance"], 0, 20)
    _between("shift", value["shift"], 0.1, 30)
    if value["guidance_2"] is not None:
        if model.experts == 1:
            raise ShapeError("guidance_2", f"{model.id} has one expert; leave guidance_2 out")
        _between("guidance_2", value["guidance_2"], 0, 20)
    return Settled(model=model, task=task, **value)


def _between(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ShapeError(field, f"{value} is not between {low} and {high}")


def _side(field: str, value: int, lim: Limits) -> None:
    _between(field, value, lim.min_side, lim.max_side)
    if value % lim.multiple:
        below = value // lim.multiple * lim.multiple
        near = [v for v in (below, below + lim.multiple) if lim.min_side <= v <= lim.max_side]
        raise ShapeError(field, f"{value} is not a multiple of {lim.multiple}; nearest: {' or '.join(map(str, near))}")


def _frames(value: int, lim: Limits) -> None:
    _between("frames", value, 5, lim.max_frames)
    if (value - 1) % 4:
        below = (value - 1) // 4 * 4 + 1
        near = [v for v in (below, below + 4) if v <= lim.max_frames]
        raise ShapeError("frames", f"{value} is not 4n+1; nearest: {' or '.join(map(str, near))}")
