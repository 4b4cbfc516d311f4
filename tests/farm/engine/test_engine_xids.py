"""What the driver says of a GPU reaches the engine on it. NVML itself is played: this machine need not have a GPU."""

import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from farm.config import Settings
from farm.engine.process import Engine, EngineDied
from farm.engine.slots import Slot
from models.planning.request import Progress, RenderRequest
from tests.conftest import wait_until

#: an event of the whole GPU
WHOLE = 0xFFFFFFFF


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


class Driver:
    """`says` holds what the next waits are told: (Xid, part of the GPU), or the number of an NVML error. `freed` is set
    when somebody who listened has gone."""

    def __init__(self) -> None:
        self.says: queue.SimpleQueue[tuple[int, int] | int] = queue.SimpleQueue()
        self.freed = threading.Event()

    def wait(self, _events: object, _timeout_ms: int) -> SimpleNamespace:
        try:
            said = self.says.get(timeout=0.02)
        except queue.Empty:
            raise NVMLError(10) from None
        if isinstance(said, int):
            raise NVMLError(said)
        return SimpleNamespace(eventData=said[0], gpuInstanceId=said[1])


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver, module = Driver(), ModuleType("pynvml")
    vars(module).update(
        NVMLError=NVMLError,
        NVML_ERROR_TIMEOUT=10,
        NVML_ERROR_GPU_IS_LOST=15,
        nvmlEventTypeXidCriticalError=8,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetDeviceHandleFromMigDeviceHandle=lambda _part: "GPU-of-it",
        nvmlDeviceGetGpuInstanceId=lambda _part: 3,
        nvmlEventSetCreate=lambda: "events",
        nvmlEventSetFree=lambda _events: driver.freed.set(),
        nvmlDeviceRegisterEvents=lambda _gpu, _kinds, _events: None,
        nvmlEventSetWait_v2=driver.wait,
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return driver


@pytest.fixture(params=["GPU-aa11", "MIG-bb22"])
def gpu_engine(tmp_path: Path, driver: Driver, request: pytest.FixtureRequest) -> Iterator[Engine]:
    settings = Settings(state_dir=tmp_path, worker={"engine": "tests.engines.actions", "models": ("actions",)})
    engine = Engine(settings, Slot("gpu-0", request.param))
    engine.start()
    yield engine
    engine.kill()


Make = Callable[[str], RenderRequest]


def test_a_broken_device_ends_the_engine_and_is_named(gpu_engine: Engine, driver: Driver, request_for: Make) -> None:
    """A program's own error, a note, and the trouble of another part of the GPU end nothing; a broken device does."""

    def trouble(_: Progress) -> None:
        if driver.says.empty():
            for said in ((31, WHOLE), (63, WHOLE), (79, WHOLE)):
                driver.says.put(said)

    with pytest.raises(EngineDied, match="was killed") as died:
        gpu_engine.render("a:1", request_for("hang"), trouble)
    assert "the driver reported Xid 31, Xid 63, Xid 79" in str(died.value)
    assert not died.value.shared
    wait_until(driver.freed.is_set, what="nobody to listen any more")


def test_what_is_no_fault_of_the_device_ends_nothing(gpu_engine: Engine, driver: Driver, request_for: Make) -> None:
    others = [(79, 5)] if str(gpu_engine.slot.visible).startswith("MIG") else []
    for said in ((13, 3), (45, WHOLE), (92, WHOLE), *others):
        driver.says.put(said)
    wait_until(driver.says.empty, what="all to be heard")
    assert gpu_engine.render("a:1", request_for("ok"), lambda _: None).frames == 5
    assert gpu_engine.alive


def test_a_gpu_that_is_lost(gpu_engine: Engine, driver: Driver, request_for: Make) -> None:
    driver.says.put(15)
    wait_until(gpu_engine.gone.is_set, what="the engine to end")
    with pytest.raises(EngineDied, match="NVML: error 15"):
        gpu_engine.render("a:1", request_for("ok"), lambda _: None)
