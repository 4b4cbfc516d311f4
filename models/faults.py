"""Foreign errors of a render become RenderFaults here, and nowhere else: what happened, and can the process go on?"""

import errno

from models.request import RenderFault

#: words of a CUDA error after which the context answers nothing any more
_POISON = (
    "device-side assert",
    "illegal memory access",
    "cuda error",
    "cudnn_status",
    "cublas_status",
    "nvlink",
    "ecc error",
)


def fault_of(error: Exception) -> RenderFault:
    """The fault that an exception stands for. Messages are for the job's owner: no paths, no traces."""
    import torch

    text = str(error).lower()
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "out of memory" in text:
        return RenderFault("out_of_memory", "the device's memory does not hold this render")
    if isinstance(error, RuntimeError) and any(word in text for word in _POISON):
        return RenderFault("device_fault", f"the GPU reported an error: {_first_line(error)}", poisoned=True)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return RenderFault("storage_failed", "the worker's disk is full")
    return RenderFault("engine_error", f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no message"
