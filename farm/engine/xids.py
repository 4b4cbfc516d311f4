"""What the driver reports of one GPU while an engine works on it: Xids, NVIDIA's numbers of errors. Never touches CUDA,
and decides nothing but whose error it was."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from farm.engine.slots import Slot
from monitoring.metrics import XIDS

log = logging.getLogger(__name__)

#: errors of a program, which hears of them itself, and what follows when one is killed
_PROGRAMS = frozenset({13, 31, 43, 45, 68, 109})
#: the device has noted something down and goes on
_NOTES = frozenset({63, 92})
#: of everything else the device is at fault
_DEVICE = "device"
#: seconds of one wait for the driver; then the thread checks whether it should end
_WAIT_MS = 1000
#: an event of the whole GPU, as against one of its parts (MIG)
_WHOLE = 0xFFFFFFFF


def listen(slot: Slot, tell: Callable[[str, bool], None], over: threading.Event) -> threading.Thread | None:
    """Call tell(what, broken) for every Xid of the slot's GPU, from a thread of its own, until `over`.

    broken      the error is the device's own, and what it computes cannot be trusted
    None where there is nothing to listen to.
    """
    if slot.visible is None:
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        gpu, part = found(pynvml, slot.visible)
        events = pynvml.nvmlEventSetCreate()
        pynvml.nvmlDeviceRegisterEvents(gpu, pynvml.nvmlEventTypeXidCriticalError, events)
    except ImportError:
        return None
    except pynvml.NVMLError as error:
        # not every card and driver reports them; its programs' own errors are still seen
        log.info("driver errors (Xids) of %s cannot be watched: %s", slot.name, error)
        return None
    thread = threading.Thread(target=_hear, args=(events, part, tell, over), name=f"xids-{slot.name}", daemon=True)
    thread.start()
    return thread


def found(nvml: Any, visible: str) -> tuple[Any, int | None]:
    """The GPU behind a Slot.visible: (its handle, the number of the part of it that is meant or None for all of it)."""
    if visible.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(visible)), None
    device = nvml.nvmlDeviceGetHandleByUUID(visible)
    if not visible.startswith("MIG"):
        return device, None
    return nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device), nvml.nvmlDeviceGetGpuInstanceId(device)


def _kind(number: int) -> str:
    return "program" if number in _PROGRAMS else "note" if number in _NOTES else _DEVICE


def _hear(events: Any, part: int | None, tell: Callable[[str, bool], None], over: threading.Event) -> None:
    import pynvml

    while not over.is_set():
        try:
            event = pynvml.nvmlEventSetWait_v2(events, _WAIT_MS)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_TIMEOUT:
                continue
            tell(f"NVML: {error}", error.value == pynvml.NVML_ERROR_GPU_IS_LOST)
            break
        number = int(event.eventData)
        if part is None or event.gpuInstanceId in (part, _WHOLE):
            kind = _kind(number)
            XIDS.labels(number, kind).inc()
            tell(f"Xid {number}", kind == _DEVICE)
    pynvml.nvmlEventSetFree(events)
    pynvml.nvmlShutdown()
