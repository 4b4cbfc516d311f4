"""Chooses where a model's parts are kept while it renders, from the free memory and the shape, before anything is
loaded. Pure arithmetic; models.acceleration.memory carries it out.

Weights are counted from the models' sizes. What a forward and the VAE need besides was counted on the real classes at
full size without memory (a test does it again) and is generous. On an H200 at 832x480x81 the peak over A14B's weights
was about 9.6 GB with the VAE in fp32 and 5.5 GB with it in bf16 and compiled blocks; 9.5 and 7.5 GB are planned.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from models.catalog.model import TEXT_TOKENS, Model
from models.catalog.shape import canvas, size_of_area, tokens

#: parameters of the parts that all models share
_TEXT, _TEXT_TABLE, _CLIP = 5.68e9, 256_384 * 4096, 0.63e9
#: of the VAEs, by their spatial stride
_VAE = {8: 0.127e9, 16: 0.705e9}
#: a forward holds at most this many copies of its hidden state (11 were counted without a cache)
_COPIES = 20
#: the same where every token has a time of its own, as TI2V-5B's (33 were counted)
_COPIES_TIMED = 40
#: texts whose keys and values fused blocks keep during a render (models.acceleration.fused_blocks)
_TEXTS = 2
#: bytes that the VAE's decoder holds per pixel of a frame, for each byte of its number format
_DECODE = 5_000
#: pixels of a tile when the VAE works in tiles
_TILE = 256 * 256
#: share of the free memory that is planned with; the rest is what fragmentation takes
USABLE = 0.94
GB = 1e9


class Where(StrEnum):
    """How the weights lie, fastest first."""

    RESIDENT = "resident"
    TEXT_VISITS = "text encoder visits"
    EXPERTS_VISIT = "experts visit"
    STREAMED = "streamed by block"
    FP8_STORAGE = "stored in fp8"


@dataclass(frozen=True)
class MemoryPlan:
    """tiled     the VAE works in tiles, which changes its pixels a little
    batched   the guided and the unguided pass are one batch, which changes the last bits
    """

    where: Where = Where.RESIDENT
    tiled: bool = False
    batched: bool = False

    @property
    def name(self) -> str:
        """The plan in words, for recipes and logs."""
        return self.where + (", VAE in tiles" if self.tiled else "") + (", both passes at once" if self.batched else "")

    @property
    def thrift(self) -> tuple[int, bool, bool]:
        """Greater for a plan that takes less of the device."""
        return list(Where).index(self.where), self.tiled, not self.batched


@dataclass(frozen=True)
class Room:
    """Bytes that may be used: on the device, and in the machine's own memory."""

    device_bytes: float
    host_bytes: float = float("inf")


@dataclass(frozen=True)
class Burden:
    """What a render needs of memory, whatever the plan.

    width, height, frames    of the clip, in pixels
    lossy    the approximation (models.catalog.options) that the job asked for
    lora_bytes  what its LoRAs add to each expert; () without LoRAs
    vae_bytes   of a number of the VAE: 4 (fp32) or 2 (bf16)
    """

    # a model has tables and cannot be hashed; equal ones still are equal
    model: Model = field(hash=False)
    width: int
    height: int
    frames: int
    lossy: str | None = None
    lora_bytes: tuple[float, ...] = ()
    vae_bytes: int = 4

    @property
    def called(self) -> str:
        """The shape in words, for messages."""
        return f"{self.width}x{self.height} with {self.frames} frames"


@dataclass(frozen=True)
class _Sizes:
    expert: float
    block: float
    text: float
    text_table: float
    vae: float
    eyes: float


def choose(burden: Burden, room: Room, *, fp8: bool = False) -> MemoryPlan | None:
    """The fastest plan that fits, None when none does. fp8: whether weights may be rounded to 8 bits to fit."""
    return next(fitting(burden, room, fp8=fp8), None)


def fitting(burden: Burden, room: Room, *, fp8: bool = False, batched: bool = False) -> Iterator[MemoryPlan]:
    """Every plan that fits, fastest first. batched: whether both passes of a step are to go together if they can."""
    for where in places(burden.model, fp8=fp8):
        for tiled in (False, True):
            for together in (True, False) if batched else (False,):
                plan = MemoryPlan(where, tiled, together)
                need = needs(burden, plan)
                if need.device_bytes <= room.device_bytes * USABLE and need.host_bytes <= room.host_bytes:
                    yield plan


def places(model: Model, *, fp8: bool = False) -> list[Where]:
    """The ways in which the model's weights may lie, fastest first."""
    barred = {Where.EXPERTS_VISIT, Where.FP8_STORAGE} if model.modular else set() if fp8 else {Where.FP8_STORAGE}
    return [where for where in Where if where not in barred]


def smaller(model: Model, plan: MemoryPlan, *, decoding: bool, fp8: bool = False) -> MemoryPlan | None:
    """The next plan that takes less of the device; None after the smallest.

    decoding    whether it was the VAE that the device had no room for: then tiles are enough
    """
    if decoding and not plan.tiled:
        return replace(plan, tiled=True)
    if plan.batched:
        return replace(plan, batched=False)
    order = places(model, fp8=fp8)
    place = order.index(plan.where) + 1
    return MemoryPlan(order[place], plan.tiled) if place < len(order) else None


def lora_bytes(model: Model, loras: Iterable[tuple[str, float]]) -> tuple[float, ...]:
    """Bytes that a job's LoRAs add to each expert of the model, () without LoRAs; each is given as (its expert, the
    bytes of its file). A file in fp32 takes half of that in memory."""
    given = tuple(loras)
    experts = ("high", "low")[: model.experts]
    return tuple(sum(size for on, size in given if on in ("both", expert)) for expert in experts) if given else ()


def needs(burden: Burden, plan: MemoryPlan) -> Room:
    """Peak bytes of a render under a plan."""
    model = burden.model
    size = _sizes(model)
    piece = burden.frames if model.segment is None else model.segment[0] + model.vae_stride[0]
    number = 4 if model.precision == "fp32" else 2
    hidden = tokens(model, burden.width, burden.height, piece) * model.dit.dim * number
    timed = model.experts == 1 and model.vae_stride[1] == 16
    work: float = hidden * (_COPIES_TIMED if timed else _COPIES) * (2 if plan.batched else 1)
    work += hidden * 2 * model.dit.layers if model.keeps_kv else 0
    # keys and values of the texts; nothing fuses blocks that come and go
    stays = plan.where in (Where.RESIDENT, Where.TEXT_VISITS)
    work += _TEXTS * TEXT_TOKENS * 2 * model.dit.dim * number * model.dit.layers if stays else 0
    work += _kept_by(burden.lossy, model, hidden)
    width, height = canvas(model, burden.width, burden.height)
    pixels = width * height
    # the frames of a piece, as they are joined, scaled and rounded
    film = piece * pixels * 3 * 4 * 4
    decode = (min(pixels, _TILE) if plan.tiled else pixels) * _DECODE * burden.vae_bytes + film
    all_loras, most_loras = sum(burden.lora_bytes), max(burden.lora_bytes, default=0)
    experts, rest = size.expert * model.experts + all_loras, size.vae + size.eyes
    if plan.where is Where.RESIDENT:
        return Room(experts + size.text + rest + max(work, decode), 0)
    if plan.where is Where.TEXT_VISITS:
        return Room(experts + rest + max(size.text, work, decode), size.text)
    everything = experts + size.text + rest
    if plan.where is Where.STREAMED:
        # one block computes, the next one is loaded, and the one before is still in memory
        block = size.block + most_loras / model.dit.layers
        return Room(rest + max(3 * block + work, size.text_table, decode), everything)
    expert = size.expert / 2 if plan.where is Where.FP8_STORAGE else size.expert
    host = everything if plan.where is Where.EXPERTS_VISIT else everything - size.expert * model.experts / 2
    return Room(rest + max(expert + most_loras + work, size.text, decode), host)


def refusal(burden: Burden, room: Room) -> str:
    """Why a render does not fit, and the largest ones that do: same length, and same size."""
    model = burden.model
    least = min(
        (needs(burden, MemoryPlan(where, tiled=True)) for where in places(model)), key=lambda need: need.device_bytes
    )
    takes = f"{least.device_bytes / GB:.1f} GB of GPU memory at the least, and {room.device_bytes / GB:.1f} GB are free"
    if burden.lossy is not None and choose(replace(burden, lossy=None), room) is not None:
        return f"options.lossy {burden.lossy} keeps what {burden.called} has no room for: {takes}; without it, it fits"
    if any(burden.lora_bytes) and choose(replace(burden, lora_bytes=()), room) is not None:
        loras_gb = sum(burden.lora_bytes) / GB
        return f"its LoRAs, {loras_gb:.1f} GB, are more than {burden.called} has room for; without them, it fits"
    text = f"{burden.called} needs {takes}"
    if least.device_bytes <= room.device_bytes * USABLE:
        host = f"{least.host_bytes / GB:.0f} GB of the machine's memory"
        text = f"{model.id} needs {host}, and {room.host_bytes / GB:.0f} GB are free"
    plain = replace(burden, lossy=None)
    offers = [offer.called for offer in (_largest(plain, room), _longest(plain, room)) if offer is not None]
    return text + (f"; what fits is {' or '.join(offers)}" if offers else f"; {model.id} does not run on this device")


def nearest(burden: Burden, room: Room) -> Burden | None:
    """The largest part of a render that fits: of the same size and at least half as long, else as long and smaller."""
    shorter = _longest(burden, room)
    if shorter is not None and shorter.frames * 2 >= burden.frames:
        return shorter
    return _largest(burden, room) or shorter


def _largest(burden: Burden, room: Room) -> Burden | None:
    """The largest clip of that aspect and length that fits."""
    limits, aspect = burden.model.limits, burden.width / burden.height
    tried = (0, 0)
    for area in range(limits.max_pixels, 0, -(limits.multiple**2) * 8):
        width, height = size_of_area(burden.model, area, aspect)
        if min(width, height) < limits.min_side:
            return None
        # the steps are finer than the sizes
        if (width, height) == tried:
            continue
        tried = width, height
        if choose(fits := replace(burden, width=width, height=height), room) is not None:
            return fits
    return None


def _longest(burden: Burden, room: Room) -> Burden | None:
    """The longest clip of that size that fits; none of a model whose memory does not grow with the length."""
    if burden.model.segment is not None:
        return None
    counts = range(5, burden.model.limits.max_frames // 4 * 4 + 2, 4)
    # a longer clip never takes less
    held = bisect_left(counts, True, key=lambda count: choose(replace(burden, frames=count), room) is None)
    return replace(burden, frames=counts[held - 1]) if held else None


def _kept_by(lossy: str | None, model: Model, hidden: float) -> float:
    """Bytes that an approximation keeps from step to step. The other approximations' are part of a forward's copies."""
    if lossy == "pab":
        # an output of every attention; the first expert's stays while the second works
        return hidden * model.dit.layers * model.experts
    if lossy == "taylorseer":
        # the last output and its change, in fp32, of both passes of both experts
        share = model.dit.out_channels * 4 / model.dit.dim
        return hidden * 2 * share * 2 * 2 * model.experts
    return 0


def _sizes(model: Model) -> _Sizes:
    """Bytes of the parts: everything in the model's precision, the VAE in fp32."""
    number = {"fp32": 4, "fp8": 1}.get(model.precision, 2)
    d, f, layers = model.dit.dim, model.dit.ffn, model.dit.layers
    block = (8 * d * d + 2 * d * f) * number
    expert = block * layers + (7 * d * d + 4352 * d + model.dit.extra) * number
    if model.weights.tiny:
        return _Sizes(expert, block, 2e5, 2e4, 5e5, 0)
    eyes = _CLIP * 2 if model.follows else 0
    return _Sizes(expert, block, _TEXT * 2, _TEXT_TABLE * 2, _VAE[model.vae_stride[1]] * 4, eyes)
