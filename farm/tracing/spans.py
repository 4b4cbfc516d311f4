"""Where the spans of a process go. `begin` once per process, after the fork; without an endpoint nothing is kept, and
OpenTelemetry is not imported."""

from collections.abc import Mapping
from typing import Any, Protocol

from farm.tracing.ids import is_chosen


class Spans(Protocol):
    """Takes spans."""

    def add(
        self, job_id: str, name: str, *, began_ns: int, ended_ns: int, root: bool, facts: Mapping[str, Any]
    ) -> None:
        """A span of a job's trace; the root is the one that all others are below."""


class _Process:
    """What `begin` made of this process."""

    spans: Spans | None = None
    share: float = 1.0


def begin(role: str, endpoint: str | None, share: float = 1.0) -> None:
    """Send spans of this process (`role`: gateway, agent, io) to an OTLP endpoint; None: to nobody. Raises ImportError
    where the extra `otel` is not installed."""
    if endpoint is not None:
        from farm.tracing.otel import OtelSpans

        begin_with(OtelSpans(role, endpoint), share)


def begin_with(spans: Spans | None, share: float = 1.0) -> None:
    """Give the spans of this process to `spans`."""
    _Process.spans, _Process.share = spans, share


def span(job_id: str, name: str, began_ns: int, ended_ns: int, *, root: bool = False, **facts: Any) -> None:
    """Something that was done for a job, between two moments in nanoseconds since the epoch."""
    if _Process.spans is not None and is_chosen(job_id, _Process.share):
        _Process.spans.add(job_id, name, began_ns=began_ns, ended_ns=max(began_ns, ended_ns), root=root, facts=facts)
