import pytest

from farm.engine.slots import NoSuchDevice, Slot, find_slots


def test_cpu_workers_are_counted() -> None:
    assert [slot.name for slot in find_slots("cpu")] == ["cpu-0"]
    assert [slot.name for slot in find_slots("cpu:3")] == ["cpu-0", "cpu-1", "cpu-2"]


@pytest.mark.parametrize("devices", ["99", "GPU-none", "tpu", "cpu:x"])
def test_a_device_that_is_not_here_is_named(devices: str) -> None:
    with pytest.raises(NoSuchDevice, match=devices):
        find_slots(devices)


def test_a_slot_travels_as_text() -> None:
    for slot in (Slot("cpu-1"), Slot("gpu-0", "GPU-8f2e")):
        assert Slot.parse(str(slot)) == slot


def test_a_process_is_pinned_before_it_starts() -> None:
    assert Slot("gpu-3", "GPU-8f2e").environment["CUDA_VISIBLE_DEVICES"] == "GPU-8f2e"
    assert Slot("cpu-0").environment["CUDA_VISIBLE_DEVICES"] == "", "a CPU engine takes no GPU's memory"
