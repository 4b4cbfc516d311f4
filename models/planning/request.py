"""The request to an engine and its answers. Pure data, JSON both ways; shapes and units are stated here.

The agent writes a RenderRequest, the engine answers with Progress lines and one RenderResult or RenderFault.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from models.catalog.model import lora_lane_name


class Stage(StrEnum):
    """The phases that an engine passes through; the same words as farm.jobs.states.Phase."""

    LOADING = "loading"
    PREPROCESSING = "preprocessing"
    DENOISING = "denoising"
    DECODING = "decoding"
    ENCODING = "encoding"


@dataclass(frozen=True)
class Lora:
    """One LoRA file for one expert: `expert` is "high", "low" or "both"; `scale` is its strength; `title` is what its
    owner calls it, for the recipe."""

    path: str
    sha256: str
    expert: str = "both"
    scale: float = 1.0
    title: str = ""

    @property
    def name(self) -> str:
        """What it is called in a lane."""
        return lora_lane_name(self.sha256, self.expert, self.scale)


@dataclass(frozen=True)
class RenderSettings:
    """What is rendered, but for the files: the same of a job and of the request to an engine.

    model       catalog id
    task        "t2v", "i2v", "flf2v", "animate", "replace", "vace"
    width, height in pixels, even; frames is 4n+1, fps frames per second; both only foretell the result of a model that
                follows a clip
    guidance    classifier-free guidance of the (high-noise) expert; guidance_2 of the low-noise one, or None
    shift       flow shift of the scheduler
    seed        0 .. 2**63-1
    """

    model: str
    task: str
    prompt: str
    negative_prompt: str
    width: int
    height: int
    frames: int
    fps: float
    steps: int
    guidance: float
    guidance_2: float | None
    shift: float
    seed: int


@dataclass(frozen=True)
class RenderRequest(RenderSettings):
    """A render, fully decided: no defaults are left to the engine.

    inputs      role -> local file: "image", "last_image", "video", "audio", ...
    input_sha256 role -> content hash of that file
    out_dir     existing empty folder that the engine fills: video.mp4, poster.jpg, recipe.json
    options     what only some models read (lossy caches, segment lengths, ...); part of the recipe
    """

    out_dir: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    input_sha256: Mapping[str, str] = field(default_factory=dict)
    loras: tuple[Lora, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    #: written into the recipe: who renders (worker id) and for which job and attempt
    provenance: Mapping[str, Any] = field(default_factory=dict)
    #: (width, height) of what becomes the clip, once width and height are those of the canvas around it
    shown: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """The request as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """The request back from to_json."""
        values = dict(raw)
        values["loras"] = tuple(Lora(**lora) for lora in values.get("loras", ()))
        return cls(**values)


@dataclass(frozen=True)
class Progress:
    """Where a render is: `step` of `steps` denoising steps done (of 0: not counted yet); `fraction` of the whole render
    in [0, 1]."""

    stage: Stage
    fraction: float
    step: int = 0
    steps: int = 0


@dataclass(frozen=True)
class RenderResult:
    """The files of a finished render, all in the request's out_dir, and what was measured.

    recipe      the recipe.json as an object: everything that made the frames
    timings     stage -> seconds
    """

    video: str
    poster: str
    recipe_path: str
    recipe: Mapping[str, Any]
    width: int
    height: int
    frames: int
    fps: float
    timings: Mapping[str, float]


#: code of a RenderFault: the model's weights are not on this machine, or cannot be read. No job's fault
WEIGHTS_MISSING = "weights_missing"


class RenderFault(Exception):
    """A render that ended without a result.

    code        a farm.jobs.errors.FaultCode value (models does not import farm): "invalid_input",
                "out_of_memory", "bad_output", "device_fault", "does_not_fit", "engine_error", ...; or
                WEIGHTS_MISSING; "storage_failed" is this machine's disk
    poisoned    the process cannot be trusted any more (CUDA assert): the engine exits after reporting
    """

    def __init__(self, code: str, message: str, *, poisoned: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.poisoned = poisoned


class Cancelled(Exception):
    """Raised inside a pipeline when the render was cancelled; the model stays warm."""
