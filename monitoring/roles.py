"""Metrics by role: a definition registers nothing and makes nothing. A process says which role it has, and from then on
exports the metrics of that role, also those that it has not counted yet.

A metric of another role may be counted (a command publishes permits): it is kept and shown to nobody.
"""

import threading
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, cast

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram


class ProcessRole(StrEnum):
    """What a process is, for whoever reads its page of metrics."""

    GATEWAY = "gateway"
    AGENT = "agent"
    IO_WORKER = "io worker"
    EXPORTER = "exporter"
    BURST = "burst"


class _Defined:
    """Stands for a metric of prometheus_client, which is made when it is first used or exported: where several
    processes count into one folder (PROMETHEUS_MULTIPROC_DIR), one that is made is exported, whatever its registry."""

    def __init__(
        self, kind: type[Any], name: str, text: str, labels: Sequence[str], roles: Sequence[ProcessRole], **options: Any
    ) -> None:
        self.name, self.roles = name, frozenset(roles)
        self._kind: Any = kind
        self._options = {"name": name, "documentation": text, "labelnames": labels, "registry": None, **options}
        self._made: Any = None
        self._lock = threading.Lock()
        _defined.append(self)

    @property
    def metric(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._kind(**self._options)
            return self._made

    def __getattr__(self, name: str) -> Any:
        return getattr(self.metric, name)


_defined: list[_Defined] = []
_exported: set[tuple[str, int]] = set()
_exporting = threading.Lock()


def counter(name: str, text: str, labels: Sequence[str] = (), *, roles: Sequence[ProcessRole]) -> Counter:
    """A counter that processes of these roles export."""
    return cast(Counter, _Defined(Counter, name, text, labels, roles))


def gauge(name: str, text: str, labels: Sequence[str] = (), *, roles: Sequence[ProcessRole], **options: Any) -> Gauge:
    """A gauge that processes of these roles export."""
    return cast(Gauge, _Defined(Gauge, name, text, labels, roles, **options))


def histogram(
    name: str, text: str, labels: Sequence[str] = (), *, roles: Sequence[ProcessRole], buckets: Sequence[float]
) -> Histogram:
    """A histogram that processes of these roles export. `buckets`: upper bounds."""
    return cast(Histogram, _Defined(Histogram, name, text, labels, roles, buckets=buckets))


def register(role: ProcessRole, registry: CollectorRegistry = REGISTRY) -> None:
    """Put every metric that was defined for the role into `registry`. Calling it again changes nothing."""
    with _exporting:
        for one in _defined:
            if role in one.roles and (one.name, id(registry)) not in _exported:
                registry.register(one.metric)
                _exported.add((one.name, id(registry)))
