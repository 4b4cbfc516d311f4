"""Metrics of a GPU, which its agent reads through NVML at each scrape."""

from monitoring.read_metrics import ReadMetric

UTILISATION = ReadMetric("wanfarm_gpu_utilisation_ratio", "Part of the last moment in which a kernel ran")
MEMORY_USED = ReadMetric("wanfarm_gpu_memory_used_bytes", "Memory in use on the GPU, by whoever")
MEMORY = ReadMetric("wanfarm_gpu_memory_bytes", "Memory of the GPU")
TEMPERATURE = ReadMetric("wanfarm_gpu_temperature_celsius", "Temperature of the chip")
POWER = ReadMetric("wanfarm_gpu_power_watts", "Power that it draws")
SLOWED = ReadMetric("wanfarm_gpu_slowed", "1 while heat or a power fault keeps its clocks down, by cause", ("cause",))
