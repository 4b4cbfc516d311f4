"""What a model is: the vocabulary of the catalog. Pure data; knows no entry."""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: the text encoder always pads to this many tokens
TEXT_TOKENS = 512
#: the one pipeline that diffusers has in modular form only
MODULAR = "WanAnimate2ModularPipeline"
MAX_PROMPT_CHARS = 5000
MAX_SEED = 2**63 - 1


class ShapeError(ValueError):
    """A request that a model cannot render: `field` is the wrong field, the text says which values are right."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


@dataclass(frozen=True)
class Weights:
    """Where a model's weights come from: a hub repository at `revision`, or `tiny` (built here).

    revision  a commit of 40 hex digits, never a branch; None where no commit is known to this catalog: the first pull
              takes the newest one, writes it down, and keeps to it
    """

    repo: str | None = None
    revision: str | None = None
    tiny: bool = False


@dataclass(frozen=True)
class LoraFile:
    """A LoRA that belongs to a model: `file` of `repo` at `revision` (as Weights has it) on the hub, for one expert
    ("high" or "low").

    Its local name is `{expert}.safetensors` in the model's own folder.
    """

    name: str
    expert: str
    repo: str | None = None
    revision: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class Network:
    """A network that preprocesses a model's inputs, in `preprocess/{name}` of the models' folder.

    files      patterns of what is fetched of `repo` at `revision`, with the hub's own paths
    form       "safetensors" (transformers' folder) or "onnx"
    size_gb    of those files
    tasks      the tasks that need it
    """

    name: str
    title: str
    repo: str
    revision: str
    files: tuple[str, ...]
    form: str
    licence: str
    size_gb: float
    tasks: tuple[str, ...]

    @property
    def id(self) -> str:
        """As `wanfarm models pull` takes it, and its folder in the models' folder."""
        return f"preprocess/{self.name}"


@dataclass(frozen=True)
class Dit:
    """The transformer's sizes, for the work formula. `layers` counts control blocks (VACE) too; `extra` is what its
    parameters are more than those of the plain blocks and ends."""

    dim: int
    ffn: int
    layers: int
    in_channels: int
    out_channels: int
    extra: int = 0


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
    """`multiple`: what is rendered has sides that are multiples of it, in pixels; a clip of any even size is cut out of
    the next larger one. max_pixels: width x height; memory mostly ends earlier. fills_area: of the two ways to round a
    size to the multiple, the one nearer to the aspect is taken, and uses up the area."""

    multiple: int = 16
    fills_area: bool = False
    min_side: int = 256
    max_side: int = 1920
    max_pixels: int = 1920 * 1088
    max_frames: int = 481
    min_steps: int = 1
    max_steps: int = 100
    max_guidance: float = 20.0
    min_fps: int = 4
    max_fps: int = 60


@dataclass(frozen=True)
class Model:
    """One catalog entry.

    tasks      task -> the input roles that it requires ("t2v" needs none, "i2v" needs "image")
    optional   task -> the input roles that it can use besides
    pipeline   task -> diffusers class name
    boundary   noise level at which the second expert takes over, None for a single expert
    vae_stride (time, height, width) pixels per latent
    base       id of the model whose weights it renders with, when it is that model with LoRAs
    loras      LoRAs that make the model what it is, fused into the weights
    sigmas     the noise levels before the shift, when they were trained in: then the number of steps is theirs
    follows    role of the input clip that decides the length and the frame rate of the result, if one does
    segment    (frames of a segment, frames that it takes over from the last one), when it renders by segments
    keeps_kv   whether a second set of tokens stays in memory, keys and values of every layer
    looks_with networks that make of its inputs what it is shown; tiny models have theirs built
    effort     work of a forward against what the formula counts (1.0: just that)
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
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: str | None = None
    loras: tuple[LoraFile, ...] = ()
    sigmas: tuple[float, ...] | None = None
    follows: str | None = None
    segment: tuple[int, int] | None = None
    keeps_kv: bool = False
    looks_with: tuple[Network, ...] = ()
    effort: float = 1.0
    external: bool = False

    @property
    def experts(self) -> int:
        """How many transformers share the steps: 1 or 2."""
        return 1 if self.boundary is None else 2

    @property
    def lane(self) -> str:
        """What must be loaded to run a job of this model with its own LoRAs: model, precision, LoRA set."""
        return lane_of(self)

    @property
    def modular(self) -> bool:
        """Whether diffusers has the pipeline as blocks only, which the offloading of whole parts does not know."""
        return MODULAR in self.pipeline.values()

    @property
    def weights_id(self) -> str:
        """The id that names the folder of the transformer's own weights."""
        return self.base or self.id

    def roles(self, task: str) -> tuple[str, ...]:
        """Every input role that the task reads, required ones first."""
        return (*self.tasks[task], *self.optional.get(task, ()))

    @property
    def resolutions(self) -> dict[str, int]:
        """Resolution word -> pixels of the area that it stands for."""
        return {word: width * height for word, (width, height) in self.frames.items()}

    @property
    def frames(self) -> dict[str, tuple[int, int]]:
        """Resolution word -> (width, height) of its wide frame, which the model's multiple may cut a little."""
        step = self.limits.multiple
        cut = {word: (width // step * step, height // step * step) for word, (width, height) in FRAMES.items()}
        return {word: size for word, size in cut.items() if size[0] * size[1] <= self.limits.max_pixels}


#: the wide frames that the resolution words mean (Wan's own table of sizes); the high ones are the same turned
FRAMES = {"480p": (832, 480), "580p": (1024, 576), "720p": (1280, 720)}
AREAS = {word: width * height for word, (width, height) in FRAMES.items()}


def lane_of(model: Model, loras: tuple[str, ...] = ()) -> str:
    """The lane of a model with extra LoRAs, named by content hash: equal lanes need no reload between them."""
    parts = (*(lora.name for lora in model.loras), *sorted(loras))
    return "+".join((f"{model.id}@{model.precision}", *parts))


def lora_lane_name(sha256: str, expert: str, scale: float) -> str:
    """What a job's own LoRA is called in a lane: the same file put on the same way needs no swap."""
    # every digit: two strengths that only look alike must not be taken for one lane
    return f"{sha256[:16]}:{expert}:{repr(float(scale)).removesuffix('.0')}"


def segments_of(model: Model, frames: int) -> int:
    """How many segments a clip of `frames` is rendered in; 1 for a model that renders in one piece."""
    if model.segment is None:
        return 1
    length, overlap = model.segment
    return max(1, -(-(frames - overlap) // (length - overlap)))
