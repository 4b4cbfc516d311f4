"""Which devices a configuration means. NVML itself is played: this machine need not have a GPU."""

import sys
from types import ModuleType

import pytest

from farm.engine.slots import NoSuchDevice, Slot, find_slots


class NVMLError(Exception):
    pass


def nvml(*gpus: tuple[str, list[str]]) -> ModuleType:
    """A pynvml that shows these GPUs: (UUID, UUIDs of the parts it is divided into)."""
    module = ModuleType("pynvml")

    def part(gpu: tuple[str, list[str]], index: int) -> tuple[str, list[str]]:
        if index >= len(gpu[1]):
            raise NVMLError
        return gpu[1][index], []

    def mode(gpu: tuple[str, list[str]]) -> list[int]:
        if gpu[0].startswith("GPU-old"):
            raise NVMLError  # "not supported", as consumer cards answer
        return [int(bool(gpu[1])), 0]

    vars(module).update(
        NVMLError=NVMLError,
        NVML_DEVICE_MIG_ENABLE=1,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(gpus),
        nvmlDeviceGetHandleByIndex=lambda index: gpus[index],
        nvmlDeviceGetName=lambda gpu: "a card",
        nvmlDeviceGetUUID=lambda gpu: gpu[0],
        nvmlDeviceGetMigMode=mode,
        nvmlDeviceGetMaxMigDeviceCount=lambda gpu: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=part,
    )
    return module


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(("GPU-aa11", []), ("GPU-old-bb22", [])))


def test_cpu_workers_are_counted() -> None:
    assert [slot.name for slot in find_slots("cpu")] == ["cpu-0"]
    assert [slot.name for slot in find_slots("cpu:3")] == ["cpu-0", "cpu-1", "cpu-2"]


@pytest.mark.usefixtures("two_gpus")
def test_auto_takes_every_gpu() -> None:
    assert [str(slot) for slot in find_slots("auto", {})] == ["gpu-0=GPU-aa11", "gpu-1=GPU-old-bb22"]
    assert [slot.device for slot in find_slots("auto", {})] == ["cuda", "cuda"]


def test_auto_without_a_gpu_is_one_cpu_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    assert find_slots("auto", {}) == [Slot("cpu-0", title="CPU")]


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("visible", "found"),
    [("1", ["gpu-1"]), ("GPU-aa", ["gpu-0"]), ("1,0", ["gpu-1", "gpu-0"]), ("", ["cpu-0"]), ("-1", ["cpu-0"])],
)
def test_auto_respects_what_this_process_may_see(visible: str, found: list[str]) -> None:
    assert [slot.name for slot in find_slots("auto", {"CUDA_VISIBLE_DEVICES": visible})] == found


@pytest.mark.usefixtures("two_gpus")
def test_gpus_are_chosen_by_number_or_uuid() -> None:
    assert [slot.visible for slot in find_slots("1")] == ["GPU-old-bb22"]
    assert [slot.visible for slot in find_slots("0, GPU-old-bb22")] == ["GPU-aa11", "GPU-old-bb22"]
    assert len(find_slots("0,0")) == 1


def test_a_divided_gpu_counts_as_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(("GPU-aa11", ["MIG-1", "MIG-2"]), ("GPU-bb22", [])))
    assert [slot.visible for slot in find_slots("auto", {})] == ["MIG-1", "MIG-2", "GPU-bb22"]


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("devices", ["99", "GPU-none", "GPU-", "tpu", "cpu:x"])
def test_a_device_that_is_not_here_is_named(devices: str) -> None:
    with pytest.raises(NoSuchDevice, match=devices):
        find_slots(devices)


def test_a_slot_travels_as_text() -> None:
    for slot in (Slot("cpu-1"), Slot("gpu-0", "GPU-8f2e")):
        assert Slot.parse(str(slot)) == slot


def test_a_process_is_pinned_before_it_starts() -> None:
    assert Slot("gpu-3", "GPU-8f2e").environment["CUDA_VISIBLE_DEVICES"] == "GPU-8f2e"
    assert Slot("cpu-0").environment["CUDA_VISIBLE_DEVICES"] == "", "a CPU engine takes no GPU's memory"
