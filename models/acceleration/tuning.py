"""Makes a loaded pipeline fast without approximations, chosen per device and recorded in the recipe.

Attention kernels, fused projections, fused or compiled blocks, the VAE's number format, 8-bit linears (a lane of their
own).
Approximations that a job asks for are models.acceleration.lossy.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from models.acceleration import fused_blocks, fused_vae, kernels
from models.acceleration.attention import FLASH_3, has_flash_3

#: shapes, dtypes and LoRA sets of one kind of block that are compiled before torch gives up on compiling it
_MAX_GRAPHS = 64
#: what is fused and is further off in bf16 than diffusers' own way is not used: a block differed by 0.2 % on an H200
_MOST_ERROR = 0.02

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wishes:
    """What an operator wants; "auto" is what Tuning finds right for the device.

    attention   "auto" or a diffusers backend name. Sage's attention computes in 8 bits and is never chosen by itself
    fused       kernels of our own for transformer blocks and the VAE in bf16: "auto" (on Hopper GPUs, when they prove
                right there), "on" or "off". A render that fused blocks do not know has those that `compile` says
    compile     "auto" (on a GPU, when the weights stay on it), "on" or "off"
    fuse_qkv    "auto" (on a GPU), "on" or "off"
    vae         "auto" (bf16 on a GPU that computes in it), "fp32" or "bf16"
    batched_guidance  both passes of a step at once (see `guidance`): "auto" (small ones on a GPU), "on" or "off"
    cache_dir   folder that keeps compiled kernels over restarts; None: torch's own, in the temporary folder
    """

    attention: str = "auto"
    fused: str = "auto"
    compile: str = "auto"
    fuse_qkv: str = "auto"
    vae: str = "auto"
    batched_guidance: str = "auto"
    cache_dir: str | None = None


@dataclass(frozen=True)
class Tuning:
    """The chosen settings.

    fused_blocks  the attention of the blocks that models.acceleration.fused_blocks computes; "" when it computes none
    attention   of all other blocks
    fused_vae   whether models.acceleration.fused_vae computes the VAE
    linears     "plain", "fp8 dynamic" (both sides in 8 bits) or "fp8 weights" (a CPU has no more)
    """

    attention: str = "native"
    fused_blocks: str = ""
    fuse_qkv: bool = False
    compile: bool = False
    vae: str = "fp32"
    fused_vae: bool = False
    linears: str = "plain"

    def told(self) -> dict[str, Any]:
        """The tuning as JSON values, for the recipe."""
        return asdict(self)


def plan_for(
    device: Any,
    precision: str = "bf16",
    wishes: Wishes | None = None,
    *,
    resident: bool = True,
    residual_vae: bool = False,
) -> Tuning:
    """The plan for a model of the catalog's `precision` on a torch.device.

    resident    whether the weights stay on the device: parts that come and go are neither fused nor compiled
    residual_vae  whether the model's VAE is built as TI2V-5B's
    RuntimeError when an attention backend was wished for that is not installed here, or fp8 that the device lacks.
    """
    wishes = wishes or Wishes()
    gpu = device.type == "cuda"
    fp8 = precision == "fp8"
    if fp8 and not can_fp8(device):
        raise RuntimeError("8-bit lanes need torchao (pip install 'wanfarm[fp8]') and a GPU of compute capability 8.9")
    attention = _attention_for(device) if wishes.attention == "auto" else wishes.attention
    require_attention(attention)
    vae = vae_for(device, wishes)
    fused = _chosen(wishes.fused, gpu and _capability(device)[0] == 9) and (not gpu or kernels.available())
    return Tuning(
        attention=attention,
        fused_blocks=_fused_attention(device, attention, wishes) if fused and resident and not fp8 else "",
        # 8-bit linears are quantised one by one
        fuse_qkv=resident and not fp8 and _chosen(wishes.fuse_qkv, gpu),
        compile=resident and _chosen(wishes.compile, gpu),
        vae=vae,
        fused_vae=fused
        and vae == "bf16"
        and fused_vae.knows()
        and _proves("the VAE", device, partial(fused_vae.error_on, residual=residual_vae)),
        linears="plain" if not fp8 else "fp8 dynamic" if gpu else "fp8 weights",
    )


def vae_for(device: Any, wishes: Wishes) -> str:
    """The VAE's number format, "bf16" or "fp32"."""
    if wishes.vae != "auto":
        return wishes.vae
    return "bf16" if device.type == "cuda" and _capability(device) >= (8, 0) else "fp32"


def can_fp8(device: Any) -> bool:
    """Whether the fp8 lanes run here: torchao is installed, and the device has the numbers. A CPU only stores in
    8 bits, which is enough for the tiny models."""
    return find_spec("torchao") is not None and (device.type != "cuda" or _capability(device) >= (8, 9))


def prepare(wishes: Wishes) -> None:
    """Process-wide, before the first compile: where kernels are kept, and how many shapes may be compiled."""
    import torch

    if wishes.cache_dir is not None:
        folder = Path(wishes.cache_dir) / re.sub(r"[^\w.-]", "_", f"torch-{torch.__version__}-{_device_name()}")
        folder.mkdir(parents=True, exist_ok=True)
        # every graph is found again by its code, its shapes and its versions
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
        os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(_MAX_GRAPHS, torch._dynamo.config.recompile_limit)
    torch._dynamo.config.accumulated_recompile_limit = max(
        4 * _MAX_GRAPHS, torch._dynamo.config.accumulated_recompile_limit
    )


def apply(pipe: Any, plan: Tuning) -> None:
    """Make a pipeline follow the plan: once, after its weights are on the device and its own LoRAs are in them."""
    for expert in _experts(pipe):
        expert.eval()
        set_attention(expert, plan.attention)
        if plan.linears != "plain":
            quantise(expert, plan.linears)
        if plan.fuse_qkv:
            fuse_qkv(expert)
        if plan.compile:
            compile_blocks(expert)
    set_vae(pipe.vae, plan.vae)
    if plan.fused_vae:
        fused_vae.fuse(pipe.vae)


def blocks_of(pipe: Any, plan: Tuning, *, lossy: str | None = None, batched: bool = False) -> tuple[str, str | None]:
    """(who computes a render's blocks: "fused", "compiled" or "plain"; why not fused, if the plan has fused ones).

    lossy, batched   of the render
    """
    under = "compiled" if plan.compile else "plain"
    if not plan.fused_blocks:
        return under, None
    reason = fused_blocks.why_not(pipe, lossy=lossy, batched=batched)
    return ("fused", None) if reason is None else (under, reason)


def set_attention(expert: Any, backend: str) -> None:
    """This model's backend, and no other's: diffusers would also make it the default of everything loaded later."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    before = _AttentionBackendRegistry._active_backend
    try:
        expert.set_attention_backend(backend)
    finally:
        _AttentionBackendRegistry.set_active_backend(before)


def attention_of(expert: Any) -> set[str | None]:
    """The backends that the model's attentions are set to; None where one follows the process's default."""
    found = set()
    for module in expert.modules():
        processor = getattr(module, "processor", None)
        if processor is not None and hasattr(processor, "_attention_backend"):
            backend = processor._attention_backend
            found.add(None if backend is None else str(getattr(backend, "value", backend)))
    return found


def require_attention(backend: str) -> None:
    """RuntimeError when the backend is unknown or its package is not installed."""
    from diffusers.models.attention_dispatch import AttentionBackendName, _check_attention_backend_requirements

    try:
        name = AttentionBackendName(backend)
    except ValueError:
        known = ", ".join(sorted(b.value for b in AttentionBackendName))
        raise RuntimeError(f"{backend!r} is no attention backend; there are {known}") from None
    _check_attention_backend_requirements(name)


def attends(backend: str, device: Any) -> bool:
    """Whether the backend really computes on this device: being installed for it is not enough."""
    import torch
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    some = torch.zeros(1, 256, 2, 128, device=device, dtype=torch.bfloat16)
    try:
        done = dispatch_attention_fn(some, some, some, backend=AttentionBackendName(backend))
        return bool(torch.isfinite(done.sum()))
    except RuntimeError:
        return False


def fuse_qkv(expert: Any) -> None:
    """One matrix product for query, key and value. The single matrices become views of the fused one, so that it
    costs no memory and can be undone."""
    import torch

    with torch.no_grad():
        for attention in _attentions(expert):
            attention.fuse_projections()
            for fused, parts in (
                (getattr(attention, "to_qkv", None), ("to_q", "to_k", "to_v")),
                (getattr(attention, "to_kv", None), ("to_k", "to_v")),
                (getattr(attention, "to_added_kv", None), ("add_k_proj", "add_v_proj")),
            ):
                if fused is not None:
                    _share(fused, [getattr(attention, part) for part in parts])


def unfuse_qkv(expert: Any) -> None:
    """The single matrices compute again; bit for bit what they were."""
    for attention in _attentions(expert):
        attention.unfuse_projections()


@contextmanager
def fit_for_loras(pipe: Any, plan: Tuning) -> Iterator[None]:
    """Put LoRAs on or off inside this: an adapter sits on the single matrices, which a fused one would bypass.

    Afterwards projections are fused again unless LoRAs are on.
    """
    experts = list(_experts(pipe))
    if plan.fuse_qkv:
        for expert in experts:
            unfuse_qkv(expert)
    yield
    if plan.fuse_qkv and not any(getattr(expert, "peft_config", None) for expert in experts):
        for expert in experts:
            fuse_qkv(expert)


def compile_blocks(expert: Any, backend: str = "inductor") -> None:
    """Compile the blocks that repeat: one graph for each shape serves all of them, and is kept in the cache folder.

    The forward is compiled, not the call: what looks on from outside (cancels, caches, offloading) stays outside.
    """
    import torch

    # Animate-2's blocks read sizes back from tensors in the middle; the others are one graph, or something is wrong
    whole = type(expert).__name__ != "WanAnimate2Transformer3DModel"
    for module in expert.modules():
        if type(module).__name__ in expert._repeated_blocks:
            module.forward = torch.compile(module.forward, fullgraph=whole, dynamic=False, backend=backend)


def quantise(expert: Any, linears: str) -> None:
    """The blocks' linears in 8 bits: attention's and the feed-forward's. Ends, norms and embeddings stay."""
    import torch
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Float8WeightOnlyConfig,
        PerRow,
        quantize_,
    )

    config: Any
    if linears == "fp8 dynamic":
        config = Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())
    else:
        config = Float8WeightOnlyConfig()

    def inside(module: Any, name: str) -> bool:
        return isinstance(module, torch.nn.Linear) and re.match(r"(vace_)?blocks\.\d+\.", name) is not None

    quantize_(expert, config, filter_fn=inside)


def set_vae(vae: Any, form: str) -> None:
    """fp32 in torch's usual layout, or bf16 with the channels last, which is how the GPU's convolutions want them."""
    import torch

    if form == "bf16":
        vae.to(torch.bfloat16)
        # what follows scales and rounds to 8 bits, which bf16 has just enough of for one rounding
        vae.decoder.register_forward_hook(lambda _, __, pixels: pixels.float())
        for module in vae.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)
            elif isinstance(module, torch.nn.Conv2d):
                module.to(memory_format=torch.channels_last)


def _attention_for(device: Any) -> str:
    if device.type != "cuda":
        return "native"
    for backend, right in (("_flash_3", _capability(device)[0] == 9), ("_native_cudnn", _capability(device) >= (9, 0))):
        if right and _installed(backend) and attends(backend, device):
            return backend
    return "native"


def _fused_attention(device: Any, attention: str, wishes: Wishes) -> str:
    """The attention that fused blocks are right with on this device, "" for none: FlashAttention 3 where it is
    installed and nothing else was wished for, or what diffusers' blocks have."""
    hopper = device.type == "cuda" and _capability(device)[0] == 9
    names = [FLASH_3] if hopper and has_flash_3() and wishes.attention == "auto" else []
    right = (n for n in (*names, attention) if _proves(f"blocks, {n}", device, fused_blocks.error_on, n))
    return next(right, "")


def _proves(what: str, device: Any, error_on: Callable[..., float], *more: str) -> bool:
    """Whether something fused computes on this device what diffusers does."""
    try:
        error = error_on(device, *more)
    except Exception as failed:  # noqa: BLE001 - no Triton, no C compiler, no such kernel: diffusers' own way runs
        _log.warning("fused %s does not run on %s: %s", what, device, failed)
        return False
    if not error <= _MOST_ERROR:
        _log.warning("fused %s is %.1f %% off on %s, and not used", what, 100 * error, device)
    return error <= _MOST_ERROR


def _installed(backend: str) -> bool:
    try:
        require_attention(backend)
    except RuntimeError:
        return False
    return True


def _share(fused: Any, parts: list[Any]) -> None:
    first = 0
    for part in parts:
        rows = slice(first, first + part.out_features)
        part.weight.data, part.bias.data = fused.weight.data[rows], fused.bias.data[rows]
        first += part.out_features


def _attentions(expert: Any) -> list[Any]:
    return [module for module in expert.modules() if hasattr(module, "fuse_projections") and hasattr(module, "to_q")]


def _experts(pipe: Any) -> Iterator[Any]:
    for part in ("transformer", "transformer_2"):
        if getattr(pipe, part, None) is not None:
            yield getattr(pipe, part)


def _chosen(wish: str, right: bool) -> bool:
    return right if wish == "auto" else wish == "on"


def _capability(device: Any) -> tuple[int, int]:
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    return major, minor


def _device_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
