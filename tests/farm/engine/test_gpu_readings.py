"""GPUs as NVML tells of them. The driver's library is replaced here, since this machine has none: what stands in for it
answers as NVIDIA's documentation says, also that a card cannot tell."""

import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from farm.engine import xids
from farm.engine.gpu_readings import GpuReadings
from farm.engine.slots import Slot
from monitoring.metrics import XIDS

HEAT, POWER = 0x40, 0x80


class NVMLError(Exception):
    def __init__(self, value: int = 3) -> None:
        super().__init__(value)
        self.value = value


class Driver(ModuleType):
    """One GPU at 70 %, hot, whose power cannot be read; `xids` are its errors to come."""

    NVMLError = NVMLError
    NVML_ERROR_TIMEOUT, NVML_ERROR_GPU_IS_LOST = 10, 15
    NVML_TEMPERATURE_GPU = 0
    nvmlEventTypeXidCriticalError = 8
    nvmlClocksThrottleReasonHwThermalSlowdown = HEAT
    nvmlClocksThrottleReasonSwThermalSlowdown = 0x20
    nvmlClocksThrottleReasonHwPowerBrakeSlowdown = POWER

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.xids: list[int] = []
        self.open = 0
        self.lost = False

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if self.lost:
            raise NVMLError(self.NVML_ERROR_GPU_IS_LOST)
        return uuid

    def nvmlDeviceGetUtilizationRates(self, _gpu: str) -> Any:
        return SimpleNamespace(gpu=70)

    def nvmlDeviceGetMemoryInfo(self, _gpu: str) -> Any:
        return SimpleNamespace(used=20 * 2**30, total=80 * 2**30)

    def nvmlDeviceGetTemperature(self, _gpu: str, _sensor: int) -> int:
        return 91

    def nvmlDeviceGetPowerUsage(self, _gpu: str) -> int:
        raise NVMLError

    def nvmlDeviceGetCurrentClocksEventReasons(self, _gpu: str) -> int:
        return HEAT

    def nvmlEventSetCreate(self) -> str:
        return "events"

    def nvmlDeviceRegisterEvents(self, *_: Any) -> None:
        pass

    def nvmlEventSetWait_v2(self, _events: str, _wait_ms: int) -> Any:
        if self.xids:
            return SimpleNamespace(eventData=self.xids.pop(0), gpuInstanceId=0xFFFFFFFF)
        raise NVMLError(self.NVML_ERROR_TIMEOUT)

    def nvmlEventSetFree(self, _events: str) -> None:
        pass


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def test_what_the_driver_tells_is_shown_and_what_it_cannot_is_left_out(driver: Driver) -> None:
    registry = CollectorRegistry()
    registry.register(GpuReadings("GPU-1"))
    assert registry.get_sample_value("wanfarm_gpu_utilisation_ratio") == 0.7
    assert registry.get_sample_value("wanfarm_gpu_memory_used_bytes") == 20 * 2**30
    assert registry.get_sample_value("wanfarm_gpu_memory_bytes") == 80 * 2**30
    assert registry.get_sample_value("wanfarm_gpu_temperature_celsius") == 91
    assert registry.get_sample_value("wanfarm_gpu_power_watts") is None
    assert registry.get_sample_value("wanfarm_gpu_slowed", {"cause": "heat"}) == 1
    assert registry.get_sample_value("wanfarm_gpu_slowed", {"cause": "power"}) == 0
    driver.lost = True
    assert list(registry.collect()) == []
    assert driver.open == 0


def test_every_xid_is_counted_also_two_of_a_kind(driver: Driver) -> None:
    def counted(xid: int, kind: str) -> float:
        return float(XIDS.labels(xid, kind)._value.get())

    before = {one: counted(*one) for one in ((79, "device"), (31, "program"), (63, "note"))}
    driver.xids = [79, 31, 79, 63]
    over, told = threading.Event(), list[tuple[str, bool]]()

    def tell(what: str, broken: bool) -> None:
        told.append((what, broken))
        if len(told) == 4:
            over.set()

    thread = xids.listen(Slot("gpu-0", "GPU-1"), tell, over)
    assert thread is not None
    thread.join(20)
    assert told == [("Xid 79", True), ("Xid 31", False), ("Xid 79", True), ("Xid 63", False)]
    assert {one: counted(*one) - before[one] for one in before} == {
        (79, "device"): 2,
        (31, "program"): 1,
        (63, "note"): 1,
    }
