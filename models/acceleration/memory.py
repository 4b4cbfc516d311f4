"""Carries out a models.planning.plan: measures free memory and puts parts of a pipeline where the plan wants them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from models.planning.plan import MemoryPlan, Room, Where


@dataclass(frozen=True)
class MemoryLimits:
    """The operator's. device_bytes, host_bytes: the most of the device's and of the machine's own memory that may be
    used, None for all that is free. fp8: whether weights may be rounded to 8 bits when nothing else fits."""

    device_bytes: float | None = None
    fp8: bool = False
    host_bytes: float | None = None


def room_on(device: Any, limits: MemoryLimits, held_bytes: float = 0) -> Room:
    """What may be used on a torch.device now, if everything loaded were let go. A CPU without a limit has all of it.

    held_bytes  of the machine's own memory, by what is loaded
    """
    import torch

    if device.type != "cuda":
        return Room(limits.device_bytes or float("inf"), limits.host_bytes or float("inf"))
    free, _ = torch.cuda.mem_get_info(device)
    mine, host = free + torch.cuda.memory_reserved(device), _host_free() + held_bytes
    return Room(min(mine, limits.device_bytes or mine), min(host, limits.host_bytes or host))


def may_use(device: Any, limits: MemoryLimits) -> dict[str, Any]:
    """The most that a render on a torch.device can count on, for those who admit jobs: bytes of the device and of the
    machine, None where there is no limit, and whether weights may be rounded to 8 bits.

    Of the machine all of its memory, whoever has it now: other engines let go of theirs, too.
    """
    room = room_on(device, limits)
    host_bytes = limits.host_bytes
    if device.type == "cuda":
        host_bytes = min(_host_total(), host_bytes or float("inf"))
    return {
        "device_bytes": None if room.device_bytes == float("inf") else room.device_bytes,
        "host_bytes": host_bytes,
        "fp8": limits.fp8,
    }


def place(pipe: Any, plan: MemoryPlan, device: Any) -> None:
    """Put a freshly loaded pipeline's parts where the plan wants them. Parts stay there: another plan needs another
    load, except for tiles."""
    if device.type == "cpu":
        _own(pipe)
    if plan.where is Where.RESIDENT:
        pipe.to(device)
    elif plan.where is Where.TEXT_VISITS:
        for name, part in _modules(pipe):
            part.to("cpu" if name == "text_encoder" else device)
    elif plan.where is Where.STREAMED:
        _stream(pipe, device)
    else:
        if plan.where is Where.FP8_STORAGE:
            _store_in_fp8(pipe)
        pipe.enable_model_cpu_offload(device=device)


def tile(pipe: Any, plan: MemoryPlan) -> None:
    """The VAE in tiles or whole, as the plan says; may be said again for each render."""
    if plan.tiled:
        pipe.vae.enable_tiling()
    else:
        pipe.vae.use_tiling = False


@contextmanager
def visiting(pipe: Any, device: Any) -> Iterator[None]:
    """While this lasts, the text encoder is where it can work; afterwards back where its plan keeps it."""
    encoder = pipe.text_encoder
    away = encoder.device.type == "cpu" and device.type != "cpu" and not hasattr(encoder, "_hf_hook")
    away = away and not _streamed(encoder)
    if away:
        encoder.to(device)
    try:
        yield
    finally:
        if away:
            encoder.to("cpu")


def free() -> None:
    """Return unused memory to the device."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak_bytes(device: Any) -> int | None:
    """The most that was held on the device since the last call; None on a CPU."""
    import torch

    if device.type != "cuda":
        return None
    peak = int(torch.cuda.max_memory_allocated(device))
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def _own(pipe: Any) -> None:
    """Weights in memory of their own, not mapped from the file: where a matrix begins decides how a CPU adds it up,
    and so the last bits of every frame."""
    import torch

    with torch.no_grad():
        for _, part in _modules(pipe):
            for tensor in (*part.parameters(), *part.buffers()):
                tensor.data = tensor.data.clone()


def _stream(pipe: Any, device: Any) -> None:
    """Transformers block by block, the text encoder leaf by leaf; the VAE and the eyes stay."""
    import torch
    from diffusers.hooks import apply_group_offloading

    overlap = device.type == "cuda"
    shared = {"onload_device": device, "offload_device": torch.device("cpu"), "use_stream": overlap}
    for name, part in _modules(pipe):
        if name in ("transformer", "transformer_2"):
            apply_group_offloading(part, offload_type="block_level", num_blocks_per_group=1, **shared)
        elif name == "text_encoder":
            apply_group_offloading(part, offload_type="leaf_level", **shared)
        else:
            part.to(device)


def _store_in_fp8(pipe: Any) -> None:
    import torch

    for name, part in _modules(pipe):
        if name in ("transformer", "transformer_2"):
            part.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=part.dtype)


def _streamed(module: Any) -> bool:
    from diffusers.hooks.group_offloading import _is_group_offload_enabled

    return bool(_is_group_offload_enabled(module))


def _modules(pipe: Any) -> list[tuple[str, Any]]:
    import torch

    return [(name, part) for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)]


def _host_total() -> float:
    """Bytes of the machine's memory, or of the part that this container may have."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        with open("/sys/fs/cgroup/memory.max") as limit:
            return min(total, float(limit.read()))
    except (OSError, ValueError):
        # no limit is the word "max"
        return total


def _host_free() -> float:
    """Bytes that programs may still take without swapping."""
    try:
        with open("/proc/meminfo") as lines:
            found = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        return found["MemAvailable"]
    except (OSError, KeyError, ValueError):
        return float("inf")
