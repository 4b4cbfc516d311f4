"""Spans by OpenTelemetry's SDK (optional extra `otel`), sent by OTLP over HTTP from a thread of its own."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from farm.tracing.ids import root_span, trace_of

#: (trace, span) that the next span gets
_next_ids: ContextVar[tuple[int, int] | None] = ContextVar("next_ids", default=None)


class _JobIds(IdGenerator):
    """Ids that follow from the job, for the root; random ones for the rest."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        given = _next_ids.get()
        return self._random.generate_trace_id() if given is None else given[0]

    def generate_span_id(self) -> int:
        given = _next_ids.get()
        return self._random.generate_span_id() if given is None else given[1]


class OtelSpans:
    """farm.tracing.spans.Spans. `role`: as service.name says it."""

    def __init__(self, role: str, endpoint: str) -> None:
        self._provider = TracerProvider(
            id_generator=_JobIds(), resource=Resource.create({"service.name": f"wanfarm-{role}"})
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("wanfarm")

    def add(
        self, job_id: str, name: str, *, began_ns: int, ended_ns: int, root: bool, facts: Mapping[str, Any]
    ) -> None:
        """A span that has ended. It is sent soon, and dropped when too many wait."""
        trace, top = int(trace_of(job_id), 16), root_span(job_id)
        known = {key: value for key, value in {"job": job_id, **facts}.items() if value is not None}
        if root:
            token = _next_ids.set((trace, top))
            try:
                made = self._tracer.start_span(name, Context(), start_time=began_ns, attributes=known)
            finally:
                _next_ids.reset(token)
        else:
            parent = SpanContext(trace, top, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
            above = set_span_in_context(NonRecordingSpan(parent), Context())
            made = self._tracer.start_span(name, above, start_time=began_ns, attributes=known)
        made.end(ended_ns)

    def flush(self) -> None:
        """Send what waits. Returns when it was taken or given up."""
        self._provider.force_flush()
