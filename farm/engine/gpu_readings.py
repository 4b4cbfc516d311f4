"""What NVML says of one GPU now, as samples for Prometheus. Never touches CUDA."""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from farm.engine.xids import found
from monitoring import gpu_metrics as metrics
from monitoring.read_metrics import ReadMetric


class GpuReadings(Collector):
    """visible: as Slot's. What a card, a driver or a part of a GPU (MIG) cannot tell is left out."""

    def __init__(self, visible: str) -> None:
        self._visible = visible

    def collect(self) -> Iterable[Metric]:
        """Ask the driver."""
        import pynvml as nvml

        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return
        try:
            yield from self._read(nvml)
        except nvml.NVMLError:
            # the GPU is lost: an alert on absence sees it
            return
        finally:
            nvml.nvmlShutdown()

    def _read(self, nvml: Any) -> Iterable[Metric]:
        whole, _part = found(nvml, self._visible)
        # a part's memory is its own; temperature and power are the whole card's
        own = nvml.nvmlDeviceGetHandleByUUID(self._visible) if self._visible.startswith("MIG") else whole
        readings: list[tuple[ReadMetric, Callable[[], float]]] = [
            (metrics.UTILISATION, lambda: nvml.nvmlDeviceGetUtilizationRates(own).gpu / 100),
            (metrics.MEMORY_USED, lambda: nvml.nvmlDeviceGetMemoryInfo(own).used),
            (metrics.MEMORY, lambda: nvml.nvmlDeviceGetMemoryInfo(own).total),
            (metrics.TEMPERATURE, lambda: nvml.nvmlDeviceGetTemperature(whole, nvml.NVML_TEMPERATURE_GPU)),
            (metrics.POWER, lambda: nvml.nvmlDeviceGetPowerUsage(whole) / 1000),
        ]
        for metric, read in readings:
            try:
                value = read()
            except nvml.NVMLError:
                continue
            family = metric.family()
            family.add_metric((), value)
            yield family
        try:
            reasons = nvml.nvmlDeviceGetCurrentClocksEventReasons(whole)
        except nvml.NVMLError:
            return
        slowed = metrics.SLOWED.family()
        for cause, bit in (
            ("heat", nvml.nvmlClocksThrottleReasonHwThermalSlowdown | nvml.nvmlClocksThrottleReasonSwThermalSlowdown),
            ("power", nvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown),
        ):
            slowed.add_metric((cause,), int(bool(reasons & bit)))
        yield slowed
