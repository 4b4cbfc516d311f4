"""Checks LoRA files: the names of their tensors by trainer, ranks and strengths, and which models they fit. Needs no
torch: the gateway checks a file before an engine loads it, by the same rules."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.catalog import MODELS, Dit, Model
from models.weights.tensor_file import BrokenFile, Tensor, TensorReader

#: a rank beyond this is no LoRA but a model
MAX_RANK = 512
#: alpha / rank, the strength that a file brings along; trainers write 0.5 to 2
MAX_STRENGTH = 64.0
#: the largest scale of a job, positive or negative
MAX_SCALE = 10.0
EXPERTS = ("both", "high", "low")
_BLOCK = 4 * 1024 * 1024

#: beginnings that trainers and tools put before a module's name; they may be nested
_BEFORE = ("base_model.model.", "model.", "diffusion_model.", "transformer.", "pipe.dit.", "dit.")
_KOHYA = "lora_unet_"
#: end of a key -> kind of tensor
_ENDS = {
    "lora_down.weight": "down",
    "lora_A.weight": "down",
    "lora_A.default.weight": "down",
    "lora_up.weight": "up",
    "lora_B.weight": "up",
    "lora_B.default.weight": "up",
    "lora_B.bias": "bias",
    "diff_b": "bias",
    "alpha": "alpha",
    "diff": "diff",
}
#: words of files that are adapters of another kind
_OTHER_KINDS = {
    "dora_scale": "a DoRA",
    "lora_magnitude_vector": "a DoRA",
    "hada_": "a LoHa",
    "lokr_": "a LoKr",
    "oft_": "an OFT",
    "lora_te": "for a text encoder too",
    "text_model": "for a text encoder too",
}
#: diffusers' names of the parts of a block -> Wan's own
_DIFFUSERS = (
    (re.compile(r"\.attn1\."), ".self_attn."),
    (re.compile(r"\.attn2\."), ".cross_attn."),
    (re.compile(r"\.to_([qkv])$"), r".\1"),
    (re.compile(r"\.to_out\.0$"), ".o"),
    (re.compile(r"\.add_([kv])_proj$"), r".\1_img"),
    (re.compile(r"\.ffn\.net\.0\.proj$"), ".ffn.0"),
    (re.compile(r"\.ffn\.net\.2$"), ".ffn.2"),
    (re.compile(r"^condition_embedder\.(text|time)_embedder\.linear_1$"), r"\1_embedding.0"),
    (re.compile(r"^condition_embedder\.(text|time)_embedder\.linear_2$"), r"\1_embedding.2"),
    (re.compile(r"^condition_embedder\.time_proj$"), "time_projection.1"),
    (re.compile(r"^proj_out$"), "head.head"),
)
#: a module that a LoRA may change
_MODULE = re.compile(
    r"blocks\.(?P<block>0|[1-9]\d{0,3})\.(?P<part>(?:self|cross)_attn\.[qkvo]|cross_attn\.[kv]_img|ffn\.[02])"
    r"|(?P<end>text_embedding\.[02]|time_embedding\.[02]|time_projection\.1|head\.head)"
)
#: musubi and kohya write underscores for dots
_UNDERSCORED = re.compile(r"blocks_(\d+)_(self_attn|cross_attn|ffn)_(q|k|v|o|k_img|v_img|0|2)")


class LoraError(ValueError):
    """A LoRA file that cannot be used; the text says why, and what to do."""


@dataclass(frozen=True)
class LoraTensor:
    """One tensor of a LoRA: `kind` is "down", "up", "bias", "alpha" or "diff" of the module that Wan calls `module`."""

    module: str
    kind: str


@dataclass(frozen=True)
class Anatomy:
    """What a LoRA file consists of.

    rank        the largest of its modules
    modules     Wan's name of a module -> its (inputs, outputs)
    ignored     tensors that no engine applies: differences of whole weights and norms
    fits        catalog ids of the models that it fits
    """

    rank: int
    modules: Mapping[str, tuple[int, int]]
    ignored: int
    fits: tuple[str, ...]


class LoraReader:
    """Feed it a file of `size` bytes. Names and shapes are judged as soon as the header is there, the numbers as they
    come. Raises LoraError."""

    def __init__(self, size: int) -> None:
        self._reader = TensorReader(size)
        self._anatomy: Anatomy | None = None
        self._alphas: dict[str, int] = {}

    def feed(self, block: bytes) -> None:
        """Read the next bytes of the file. LoraError as soon as it cannot be a LoRA."""
        try:
            if self._reader.feed(block):
                self._anatomy, self._alphas = _anatomy(self._reader.tensors)
        except BrokenFile as error:
            raise LoraError(str(error)) from None

    def done(self) -> Anatomy:
        """What the file consists of, after its last byte. LoraError when it cannot be used."""
        try:
            self._reader.done()
        except BrokenFile as error:
            raise LoraError(str(error)) from None
        assert self._anatomy is not None
        for key, rank in self._alphas.items():
            alpha = self._reader.scalars[key]
            if not 0 < alpha <= MAX_STRENGTH * rank:
                raise LoraError(f"{key} is {alpha:g}; for a rank of {rank} it is above 0 and at most {64 * rank}")
        return self._anatomy


def read(path: Path) -> Anatomy:
    """The anatomy of a file on disk, every byte of it looked at. Raises LoraError."""
    try:
        reader = LoraReader(path.stat().st_size)
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                reader.feed(block)
    except OSError as error:
        raise LoraError("the file cannot be read") from error
    return reader.done()


def part_of(key: str) -> LoraTensor | None:
    """The module and kind of a key of any trainer's file; None for a key that is not part of a LoRA for Wan."""
    found = next((end for end in _ENDS if key.endswith(f".{end}")), None)
    if found is None:
        return None
    module, kind = key[: -len(found) - 1], _ENDS[found]
    if module.startswith(_KOHYA):
        match = _UNDERSCORED.fullmatch(module.removeprefix(_KOHYA))
        if match is None:
            return None
        return LoraTensor(f"blocks.{int(match[1])}.{match[2]}.{match[3]}", kind)
    while before := next((word for word in _BEFORE if module.startswith(word)), None):
        module = module.removeprefix(before)
    for theirs, ours in _DIFFUSERS:
        module = theirs.sub(ours, module)
    return LoraTensor(module, kind)


def worn_parts(keys: Iterable[str]) -> Iterator[tuple[str, LoraTensor]]:
    """(key, tensor) of what an engine applies: pairs with their alpha and bias. Other tensors of a good file are
    ignored."""
    named = [(key, part) for key in keys if (part := part_of(key)) is not None]
    paired = {part.module for _, part in named if part.kind == "up"}
    for key, part in named:
        if part.module in paired and part.kind != "diff":
            yield key, part


def why_not(model: Model) -> str | None:
    """Why no job of this model may bring LoRAs; None when it may."""
    if model.precision == "fp8":
        return f"{model.id} takes no LoRAs: its weights are in 8 bits; {model.base} does"
    if model.modular:
        return f"{model.id} takes no LoRAs: its layers are not named as those of the models that they are trained for"
    if model.external:
        return f"{model.id} is rendered by a provider, which takes no LoRAs"
    return None


def fitting(modules: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Ids of the models that take LoRAs and have all of these modules in these sizes."""
    return tuple(
        model.id
        for model in MODELS.values()
        if why_not(model) is None and all(_same(name, sides, model.dit) for name, sides in modules.items())
    )


def _anatomy(tensors: Mapping[str, Tensor]) -> tuple[Anatomy, dict[str, int]]:
    """The anatomy, and the key of every alpha with its module's rank."""
    parts: dict[str, LoraTensor] = {}
    taken: dict[LoraTensor, str] = {}
    for key in tensors:
        part = parts[key] = _known(key)
        if part in taken:
            raise LoraError(f"{taken[part][:100]} and {key[:100]} are the same part of the same module")
        taken[part] = key
    modules: dict[str, tuple[int, int]] = {}
    alphas: dict[str, int] = {}
    rank = ignored = 0
    for module in dict.fromkeys(part.module for part in parts.values()):
        own = {
            kind: taken[LoraTensor(module, kind)] for kind in set(_ENDS.values()) if LoraTensor(module, kind) in taken
        }
        ignored += len(own) if "up" not in own else "diff" in own
        if "down" not in own and "up" not in own and "alpha" not in own:
            continue
        if "down" not in own or "up" not in own:
            raise LoraError(f"{module} has no pair of lora_down and lora_up (lora_A and lora_B): the file is not whole")
        sides, of = _pair(module, {kind: tensors[key] for kind, key in own.items()})
        modules[module], rank = sides, max(rank, of)
        if "alpha" in own:
            alphas[own["alpha"]] = of
    if not modules:
        raise LoraError("there are no LoRA weights (lora_down/lora_up or lora_A/lora_B) in this file")
    if not any(module.startswith("blocks.") for module in modules):
        raise LoraError("it changes no block of the transformer, only its ends; diffusers cannot load such a file")
    fits = fitting(modules)
    if not fits:
        raise LoraError(_misfit(modules))
    return Anatomy(rank, modules, ignored, fits), alphas


def _known(key: str) -> LoraTensor:
    """The part that a key names. LoraError for one of another kind of adapter or of another model."""
    for word, what in _OTHER_KINDS.items():
        if word in key:
            raise LoraError(f"this file is {what} ({key[:100]}); only LoRAs of the video model are used")
    part = part_of(key)
    if part is None:
        raise LoraError(
            f"{key[:100]!r} is no part of a LoRA for Wan: known are Wan's own names, "
            "musubi's (lora_unet_) and those of diffusers and peft"
        )
    if part.kind not in ("diff", "bias") and _MODULE.fullmatch(part.module) is None:
        raise LoraError(f"it was made for another model: Wan 2.2 has no {part.module[:100]} that a LoRA may change")
    return part


def _pair(module: str, own: Mapping[str, Tensor]) -> tuple[tuple[int, int], int]:
    """((inputs, outputs), rank) of a module."""
    down, up = own["down"].shape, own["up"].shape
    if len(down) != 2 or len(up) != 2 or down[0] != up[1]:
        raise LoraError(f"the two matrices of {module} do not belong together: {list(down)} and {list(up)}")
    if not 1 <= down[0] <= MAX_RANK:
        raise LoraError(f"rank {down[0]} is more than {MAX_RANK}")
    if "bias" in own and own["bias"].shape != (up[0],):
        raise LoraError(f"the bias of {module} is not {up[0]} long")
    if "alpha" in own and any(side != 1 for side in own["alpha"].shape):
        raise LoraError(f"the alpha of {module} is not one number")
    return (down[1], up[0]), down[0]


def _same(module: str, sides: tuple[int, int], dit: Dit) -> bool:
    match = _MODULE.fullmatch(module)
    if match is None or (match["block"] and int(match["block"]) >= dit.layers):
        return False
    wanted = _sides(match["part"] or match["end"], dit)
    return all(is_ == want for is_, want in zip(sides, wanted, strict=True) if want is not None)


def _sides(part: str, dit: Dit) -> tuple[int | None, int | None]:
    """(inputs, outputs) of a module in a transformer; None where the catalog does not say."""
    known: dict[str, tuple[int | None, int | None]] = {
        "ffn.0": (dit.dim, dit.ffn),
        "ffn.2": (dit.ffn, dit.dim),
        "text_embedding.0": (None, dit.dim),
        "time_embedding.0": (None, dit.dim),
        "time_projection.1": (dit.dim, 6 * dit.dim),
        "head.head": (dit.dim, 4 * dit.out_channels),
    }
    return known.get(part, (dit.dim, dit.dim))


def _misfit(modules: Mapping[str, tuple[int, int]]) -> str:
    """Which of the file's sizes no model has."""
    wearing = [model for model in MODELS.values() if why_not(model) is None]
    real = {model.dit.dim: model.id for model in wearing if not model.weights.tiny}
    names = ", ".join(f"{dim} ({model})" for dim, model in sorted(real.items(), reverse=True))
    wide = next((sides[0] for name, sides in modules.items() if name.endswith("self_attn.q")), None)
    if wide is not None and wide not in {model.dit.dim for model in wearing}:
        return f"it was made for another model: its layers are {wide} wide; those of the models here are {names}"
    matches = filter(None, map(_MODULE.fullmatch, modules))
    blocks = 1 + max((int(match["block"]) for match in matches if match["block"]), default=0)
    return f"it was made for another model: none here has {blocks} blocks of these sizes; their widths are {names}"


def checked_scale(value: Any) -> float:
    """The strength that a job asks for, to four decimals, so that a lane's name tells all of it. Raises LoraError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= MAX_SCALE:
        raise LoraError(f"scale is a number between -{MAX_SCALE:g} and {MAX_SCALE:g}")
    return round(float(value), 4) + 0.0
