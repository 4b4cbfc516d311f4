"""The devices of this machine, and how a process is pinned to one. Never touches CUDA: NVML only looks."""

import itertools
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from farm.jobs.errors import FarmError


class NoSuchDevice(FarmError):
    """The configuration names a device that this machine does not have."""


@dataclass(frozen=True)
class Slot:
    """One place to render: a GPU or a CPU worker. Its text, `str(slot)`, travels in settings.worker.slot.

    name     unique on this machine: "gpu-0", "cpu-1"
    visible  what CUDA_VISIBLE_DEVICES must be (a GPU's UUID or number); None for a CPU
    title    the device's own name, for people
    """

    name: str
    visible: str | None = None
    title: str = ""

    @property
    def device(self) -> str:
        """torch's word for it, seen from the pinned process."""
        return "cpu" if self.visible is None else "cuda"

    @property
    def number(self) -> int:
        """The number in the slot's name: 1 of "gpu-1"."""
        return int(self.name.rpartition("-")[2])

    @property
    def environment(self) -> dict[str, str]:
        """What must be set before a process that may use CUDA starts."""
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": self.visible or ""}

    def __str__(self) -> str:
        return self.name if self.visible is None else f"{self.name}={self.visible}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """A slot from its text, "NAME=VISIBLE_DEVICE" or "NAME"."""
        name, _, visible = text.partition("=")
        return cls(name, visible or None)


def find_slots(devices: str, environment: Mapping[str, str] = os.environ) -> list[Slot]:
    """The slots that settings.worker.devices means here.

    "auto": every GPU that NVML shows (of those that CUDA_VISIBLE_DEVICES allows), else one CPU worker. "cpu",
    "cpu:2": CPU workers. "0,2": these GPUs. Raises NoSuchDevice.
    """
    if match := re.fullmatch(r"cpu(?::(\d+))?", devices):
        return [Slot(f"cpu-{n}", title="CPU") for n in range(int(match[1] or 1))]
    gpus = _gpus()
    if devices != "auto":
        return _chosen(gpus, devices.split(","))
    allowed = environment.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        # "-1" is CUDA's word for: none from here on
        gpus = _chosen(gpus, itertools.takewhile(lambda name: name.strip() not in ("", "-1"), allowed.split(",")))
    return gpus or [Slot("cpu-0", title="CPU")]


def _chosen(gpus: list[Slot], names: Iterable[str]) -> list[Slot]:
    return list(dict.fromkeys(_pick(gpus, name.strip()) for name in names))


def _pick(gpus: list[Slot], name: str) -> Slot:
    """A GPU by number or by UUID (a unique beginning of it will do)."""
    if name.isdigit() and int(name) < len(gpus):
        return gpus[int(name)]
    found = [gpu for gpu in gpus if gpu.visible and gpu.visible.startswith(name)] if not name.isdigit() else []
    if len(found) != 1:
        raise NoSuchDevice(f"worker.devices names {name!r}; this machine has {len(gpus)} GPUs")
    return found[0]


def _gpus() -> list[Slot]:
    """Every GPU, or part of a divided one (MIG), in PCI order; none when there is no driver."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        slots: list[Slot] = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
            title = str(pynvml.nvmlDeviceGetName(gpu))
            parts = _parts(gpu)
            for handle in parts or [gpu]:
                slots.append(Slot(f"gpu-{len(slots)}", str(pynvml.nvmlDeviceGetUUID(handle)), title))
        return slots
    except pynvml.NVMLError as error:
        raise NoSuchDevice(f"NVML found a GPU but cannot describe it: {error}") from error
    finally:
        pynvml.nvmlShutdown()


def _parts(gpu: object) -> list[object]:
    """The MIG devices of a divided GPU; empty for a whole one."""
    import pynvml

    with suppress(pynvml.NVMLError):
        if pynvml.nvmlDeviceGetMigMode(gpu)[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return []
        found = []
        for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            with suppress(pynvml.NVMLError):
                found.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
        return found
    return []
