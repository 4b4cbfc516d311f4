"""Which failures speak against a device, for how long it is out of service, and what ends that."""

from pathlib import Path

import pytest

from farm.agent.device_health import DeviceHealth
from farm.config import Settings, WorkerSettings
from farm.engine.slots import Slot
from farm.jobs.errors import FaultCode, JobFault

SLOT = Slot("gpu-0", "GPU-aaaa")
HARD = JobFault(FaultCode.DEVICE_FAULT, "CUDA error: an illegal instruction was encountered")


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker_settings(tmp_path: Path) -> Settings:
    worker = WorkerSettings(strikes=3, quarantine_s=100.0, quarantine_max_s=300.0)
    return Settings(state_dir=tmp_path, worker=worker)


@pytest.fixture
def health(worker_settings: Settings, clock: Clock) -> DeviceHealth:
    return DeviceHealth(worker_settings, SLOT, clock)


def fail(health: DeviceHealth, *jobs: str, fault: JobFault = HARD) -> bool:
    """Whether the last of these jobs began a quarantine. A job is named tenant/number."""
    began = [health.strike(job, job.partition("/")[0], fault) is not None for job in jobs]
    assert not any(began[:-1])
    return began[-1]


def test_different_jobs_in_a_row_quarantine_the_device(health: DeviceHealth, clock: Clock) -> None:
    assert not fail(health, "a/1", "a/2")
    assert not fail(health, "a/1", "a/2", "a/2"), "one job counts once"
    health.rendered()
    assert not fail(health, "a/3", "a/4")
    assert health.quarantine() is None
    assert fail(health, "a/5")
    quarantine = health.quarantine()
    assert quarantine
    assert quarantine.until == clock.now + 100
    assert "3 different jobs" in quarantine.reason
    assert HARD.message in quarantine.reason
    assert not fail(health, "a/6"), "it has begun already"


@pytest.mark.parametrize("code", [FaultCode.INVALID_INPUT, FaultCode.STORAGE_FAILED, FaultCode.TOO_LONG])
def test_what_is_not_the_devices_doing_does_not_count(health: DeviceHealth, code: FaultCode) -> None:
    assert not fail(health, *[f"t{n}/{n}" for n in range(9)], fault=JobFault(code, ""))


@pytest.mark.parametrize("code", [FaultCode.DEVICE_FAULT, FaultCode.BAD_OUTPUT, FaultCode.ENGINE_DIED, FaultCode.STUCK])
def test_what_bad_devices_do_counts_whosever_jobs_they_are(health: DeviceHealth, code: FaultCode) -> None:
    """A CUDA error, NaN or black frames, an engine that dies of an Xid or hangs."""
    assert fail(health, "a/1", "a/2", "a/3", fault=JobFault(code, ""))


@pytest.mark.parametrize("code", [FaultCode.BAD_OUTPUT, FaultCode.ENGINE_DIED, FaultCode.STUCK])
def test_what_a_tenant_brought_is_believed_of_two(health: DeviceHealth, code: FaultCode) -> None:
    """A LoRA makes NaN, a black picture a black clip, and what nobody foresaw in either kills an engine or stops it; a
    bad device also does so."""
    crash = JobFault(code, "the engine died while it rendered this job")
    assert not any(health.strike(f"a/{n}", "a", crash, brought=True) for n in range(9))
    assert health.strike("b/1", "b", crash, brought=True)


def test_what_the_driver_reports_counts_whatever_was_brought(health: DeviceHealth) -> None:
    assert not any(health.strike(f"a/{n}", "a", HARD, brought=True) for n in range(2))
    assert health.strike("a/2", "a", HARD, brought=True)


@pytest.mark.parametrize("code", [FaultCode.ENGINE_ERROR, FaultCode.OUT_OF_MEMORY])
def test_one_tenants_ill_fated_batch_takes_no_device_away(health: DeviceHealth, code: FaultCode) -> None:
    fault = JobFault(code, "")
    assert not fail(health, *[f"a/{n}" for n in range(9)], fault=fault)
    assert fail(health, "b/1", fault=fault), "but when another tenant's job fails so, too"


def test_each_quarantine_in_a_row_is_longer(health: DeviceHealth, clock: Clock) -> None:
    for turn, lasts_s in enumerate((100, 200, 300, 300)):
        assert fail(health, *[f"a/{turn}-{n}" for n in range(3)])
        clock.now += lasts_s - 1
        assert health.quarantine()
        clock.now += 1
        assert health.quarantine() is None
        assert health.suspects == ()
    health.rendered()
    assert fail(health, "a/1", "a/2", "a/3")
    clock.now += 100
    assert health.quarantine() is None


def test_jobs_that_fail_elsewhere_too_are_taken_back(health: DeviceHealth, clock: Clock) -> None:
    fail(health, "a/1", "a/2")
    health.acquit(["a/1"])
    assert not fail(health, "a/3")
    assert fail(health, "a/4")
    health.acquit(["b/1"])
    assert health.quarantine()
    health.acquit(["a/2"])
    assert health.quarantine() is None
    assert fail(health, "a/5")
    quarantine = health.quarantine()
    assert quarantine
    assert quarantine.until == clock.now + 100, "the one that never was does not make this one longer"


def test_a_restart_forgets_nothing(worker_settings: Settings, health: DeviceHealth, clock: Clock) -> None:
    fail(health, "a/1", "a/2")
    reborn = DeviceHealth(worker_settings, SLOT, clock)
    assert fail(reborn, "a/3")
    assert DeviceHealth(worker_settings, SLOT, clock).quarantine() == reborn.quarantine()
    # a late success does not end it, an operator does
    reborn.rendered()
    assert reborn.quarantine()
    reborn.forgive()
    assert DeviceHealth(worker_settings, SLOT, clock).quarantine() is None


def test_another_device_in_the_same_place_begins_clean(worker_settings: Settings, clock: Clock) -> None:
    fail(DeviceHealth(worker_settings, SLOT, clock), "a/1", "a/2", "a/3")
    assert DeviceHealth(worker_settings, Slot("gpu-0", "GPU-bbbb"), clock).quarantine() is None
    assert DeviceHealth(worker_settings, SLOT, clock).quarantine()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"device": "gpu-0=GPU-aaaa"}', '{"strikes": 5, "device": 1}'])
def test_a_spoilt_record_is_no_record(worker_settings: Settings, health: DeviceHealth, clock: Clock, text: str) -> None:
    fail(health, "a/1", "a/2", "a/3")
    (worker_settings.state_dir / "health" / "gpu-0.json").write_text(text)
    assert DeviceHealth(worker_settings, SLOT, clock).quarantine() is None


def test_a_clock_that_was_set_back_holds_nobody_for_years(health: DeviceHealth, clock: Clock) -> None:
    fail(health, "a/1", "a/2", "a/3")
    clock.now -= 10 * 365 * 86400
    assert health.quarantine() is None


def test_zero_strikes_means_never(worker_settings: Settings, clock: Clock) -> None:
    worker = worker_settings.worker.model_copy(update={"strikes": 0})
    tolerant = DeviceHealth(worker_settings.model_copy(update={"worker": worker}), SLOT, clock)
    assert not fail(tolerant, *[f"a/{n}" for n in range(9)])
