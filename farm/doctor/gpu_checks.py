"""GPUs and their driver, through NVML, and the torch that is to use them. torch itself is not imported."""

import importlib.util
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from farm.config import Settings
from farm.doctor.finding import Finding, error, ok, warning
from farm.engine.slots import NoSuchDevice, Slot, find_slots

_CUDA = re.compile(r"^cuda\b[^=]*= *['\"](\d+)\.(\d+)", re.MULTILINE)
#: memory of a GPU that others use before a worker has begun, bytes
_OTHERS = 2 * 10**9


@dataclass(frozen=True)
class GpuFacts:
    """What NVML says of one GPU. used_bytes: by whomever; processes: how many compute on it."""

    name: str
    used_bytes: int
    total_bytes: int
    processes: int = 0
    #: rows of memory that are replaced at the next reset; the GPU has none left to replace
    repairs_pending: bool = False
    repairs_failed: bool = False


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check of this machine's devices."""
    origin = torch_file()
    if origin is None:
        yield ok("gpu.engine", "torch is not installed: this machine renders nothing")
        return
    try:
        slots = find_slots(settings.worker.devices)
    except NoSuchDevice as missing:
        yield error("gpu.devices", str(missing), "correct worker.devices, or look at nvidia-smi")
        return
    gpus = [slot for slot in slots if slot.visible is not None]
    yield devices(slots, wanted=settings.worker.devices)
    if not gpus:
        return
    driver, newest_cuda = _driver()
    yield cuda(driver, newest_cuda, built_for(origin))
    for gpu in gpus:
        yield health(gpu.name, _facts(gpu))


def devices(slots: list[Slot], *, wanted: str) -> Finding:
    """What a worker here would serve."""
    named = ", ".join(f"{slot.name} ({slot.title})" for slot in slots)
    if slots[0].visible is None and not wanted.startswith("cpu"):
        todo = 'install the NVIDIA driver (in a container: its runtime), or set worker.devices = "cpu"'
        return warning("gpu.devices", "no GPU is seen: a worker would render the tiny models on the CPU", todo)
    return ok("gpu.devices", named)


def cuda(driver: str, newest: tuple[int, int], built: tuple[int, int] | None) -> Finding:
    """The driver runs the CUDA that torch was built for. Within one major version an older driver does."""
    if built is None:
        todo = "install the build of torch for CUDA (without the CPU index of constraints.txt)"
        return error("gpu.driver", f"driver {driver}; torch is built without CUDA", todo)
    text = f"driver {driver} runs CUDA {newest[0]}.{newest[1]}; torch is built for {built[0]}.{built[1]}"
    if newest[0] < built[0]:
        return error("gpu.driver", text, "install a newer driver, or a torch for an older CUDA")
    return ok("gpu.driver", text)


def health(name: str, facts: GpuFacts) -> Finding:
    """Memory that is free and whole."""
    check = f"gpu.{name}"
    text = f"{facts.name}, {facts.total_bytes / 1e9:.0f} GB, {facts.used_bytes / 1e9:.1f} GB in use"
    if facts.repairs_failed:
        return error(check, f"{text}; its memory has errors that it cannot replace", "replace this GPU")
    if facts.repairs_pending:
        return warning(check, f"{text}; broken rows of its memory wait to be replaced", "reset it, or reboot")
    if facts.used_bytes > _OTHERS:
        todo = "end other programs, or bound this farm's share by worker.gpu_memory_gb; a worker that runs is fine"
        return warning(check, f"{text} by {facts.processes} processes", todo)
    return ok(check, text)


def torch_file() -> Path | None:
    """Where torch is installed; None: it is not."""
    found = importlib.util.find_spec("torch")
    return Path(found.origin) if found is not None and found.origin else None


def built_for(torch: Path) -> tuple[int, int] | None:
    """The CUDA that this torch is built for; None: none."""
    with suppress(OSError):
        found = _CUDA.search(torch.with_name("version.py").read_text())
        return (int(found[1]), int(found[2])) if found else None
    return None


def _driver() -> tuple[str, tuple[int, int]]:
    """Its version, and the newest CUDA that it runs."""
    import pynvml

    pynvml.nvmlInit()
    try:
        newest = int(pynvml.nvmlSystemGetCudaDriverVersion())
        return str(pynvml.nvmlSystemGetDriverVersion()), (newest // 1000, newest % 1000 // 10)
    finally:
        pynvml.nvmlShutdown()


def _facts(gpu: Slot) -> GpuFacts:
    import pynvml

    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.visible)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        pending = failed = processes = 0
        # a card that cannot tell is no broken one
        with suppress(pynvml.NVMLError):
            _, _, pending, failed = pynvml.nvmlDeviceGetRemappedRows(handle)
        with suppress(pynvml.NVMLError):
            processes = len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle))
        return GpuFacts(gpu.title, int(memory.used), int(memory.total), processes, bool(pending), bool(failed))
    finally:
        pynvml.nvmlShutdown()
