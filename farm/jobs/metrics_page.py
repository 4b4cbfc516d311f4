"""Where a process shows its metrics."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class MetricsPage:
    """role: one word for what the process is. machine: the name of its host. address: "host:port", as a Prometheus on
    another machine dials it, or a loopback address, which only its own machine can."""

    role: str
    machine: str
    address: str
