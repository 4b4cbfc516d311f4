"""What is set once in a process that renders: library noise, threads, number formats, the device."""

import gc
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from typing import Any

from models.acceleration import cpu_vae

#: fixed, because the number of threads changes the order of sums and so the last bits; and one, because threads that
#: wait for each other by spinning are ten times slower as soon as the machine has anything else to do
CPU_THREADS = 1

#: libraries that have a say in the pixels
LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "torchao",
    "safetensors",
    "numpy",
    "av",
    "pillow",
)


@cache
def prepare() -> None:
    """Import-time settings; harmless to call again.

    TF32 is off so that the VAE's fp32 means fp32; bf16 sums are kept in fp32 for the same frames on every run.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # diffusers' first import of an image processor complains through this logger, before its verbosity can be set
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # torchao tells at length which of its kernels this machine cannot load
    for noisy in ("torchao", "torch.utils._pytree"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with _not_collecting():
        import torch
        from diffusers import AutoencoderKLWan, WanPipeline  # noqa: F401 - every load imports them
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    prepare_thread()
    cpu_vae.use()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cudnn.benchmark = False
    # imports stay until the process ends: the collection at each change of the model, and those in the middle of a
    # render, need not look through them (half a second each)
    gc.collect()
    gc.freeze()


@contextmanager
def _not_collecting() -> Iterator[None]:
    """What is imported stays: looking for garbage in it again and again is a seventh of what importing costs."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def prepare_thread() -> None:
    """What each thread that computes has to set for itself."""
    import torch

    torch.set_num_threads(CPU_THREADS)


def device_of(wanted: str) -> Any:
    """torch.device of "auto" (the first GPU, else the CPU), "cpu" or "cuda:N". RuntimeError when it is not there."""
    import torch

    if wanted == "auto":
        wanted = "cuda:0" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda":
        if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
            raise RuntimeError(f"there is no device {wanted} here")
        torch.cuda.set_device(device)
    return device


def facts(device: Any) -> dict[str, Any]:
    """name, type, total_bytes, compute_capability ("9.0" or None), torch: what makes this device this device."""
    import torch

    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        return {
            "name": card.name,
            "type": "cuda",
            "total_bytes": card.total_memory,
            "compute_capability": f"{card.major}.{card.minor}",
            "cuda": torch.version.cuda,
            "torch": torch.__version__,
        }
    return {
        "name": _cpu_name(),
        "type": "cpu",
        "total_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "compute_capability": None,
        "cuda": None,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


@cache
def versions() -> dict[str, str]:
    """Library -> version, of those that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()
