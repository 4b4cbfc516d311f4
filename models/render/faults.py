"""Foreign errors of a render become RenderFaults here, and nowhere else: what happened, and can the process go on?"""

import errno
from collections.abc import Callable
from typing import TypeVar

from models.catalog.model import ShapeError
from models.planning.request import Cancelled, RenderFault

T = TypeVar("T")

#: what an owner reads of an unexpected error; its text and its trace are in the engine's log
ENGINE_FAILED = "the render failed in the engine; the operator's log says why"

#: words of a CUDA error after which the context answers nothing any more
_POISON = (
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "cuda error",
    "cuda driver error",
    "triton error [cuda]",
    "cudnn_status",
    "cublas_status",
    "nvlink",
    "ecc error",
)

_FULL = (
    "out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cuda error: memory allocation",
    # torch asks the driver's library who holds the memory that it did not get; on a part of a GPU (MIG) that fails
    "nvml_success ==",
)

#: the machine's own disk, whatever is rendered
DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def told_apart(work: Callable[[], T]) -> T:
    """Do `work`; whatever it raises leaves as a RenderFault or as Cancelled."""
    from models.render.loras import LoraError

    try:
        return work()
    except (Cancelled, RenderFault):
        raise
    except ShapeError as error:
        raise RenderFault("invalid_input", f"{error.field}: {error.detail}") from error
    except LoraError as error:
        raise RenderFault("invalid_input", f"the LoRA cannot be used: {error}") from error
    except Exception as error:
        raise fault_of(error) from error


def fault_of(error: Exception) -> RenderFault:
    """The fault that an exception stands for. Messages are for the job's owner: no paths, no traces."""
    text = str(error).lower()
    if is_out_of_memory(error):
        return RenderFault("out_of_memory", "the device's memory does not hold this render")
    if isinstance(error, RuntimeError) and any(word in text for word in _POISON):
        return RenderFault("device_fault", f"the GPU reported an error: {_first_line(error)}", poisoned=True)
    if isinstance(error, OSError) and error.errno in DISK:
        return RenderFault("storage_failed", f"the worker's disk: {error.strerror}")
    if _is_unreadable(error):
        return RenderFault("invalid_input", "an input of the job cannot be read")
    return RenderFault("engine_error", ENGINE_FAILED)


def is_out_of_memory(error: Exception) -> bool:
    """Whether more memory would have helped: torch's own word, and the libraries' that it does not translate."""
    import torch

    text = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(word in text for word in _FULL)


def _is_unreadable(error: Exception) -> bool:
    """A decoder's refusal: the next try would read the same bytes."""
    import av
    from PIL import UnidentifiedImageError

    return isinstance(error, (av.error.InvalidDataError, UnidentifiedImageError))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no message"
