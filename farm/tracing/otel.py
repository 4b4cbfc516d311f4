"""Spans by OpenTelemetry's SDK (optional extra `otel`), sent by OTLP over HTTP from a thread of its own. A span is made
when it has ended, and encoded by that thread: the SDK's own way (start, attributes, end, encode) takes a request four
times as much (bench/console.py)."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from farm.tracing.ids import root_span, trace_of

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class OtelSpans:
    """farm.tracing.spans.Spans. `role`: as service.name says it."""

    def __init__(self, role: str, endpoint: str) -> None:
        self._resource = Resource.create({"service.name": f"wanfarm-{role}"})
        self._queue = BatchSpanProcessor(_JobSpanExporter(self._resource, endpoint))

    def add(
        self, job_id: str, name: str, *, began_ns: int, ended_ns: int, root: bool, facts: Mapping[str, Any]
    ) -> None:
        """A span that has ended. It is sent soon, and dropped when too many wait."""
        trace, top = int(trace_of(job_id), 16), root_span(job_id)
        known = {key: value for key, value in {"job": job_id, **facts}.items() if value is not None}
        own = top if root else random.getrandbits(64) or 1
        parent = None if root else SpanContext(trace, top, is_remote=True, trace_flags=_SAMPLED)
        context = SpanContext(trace, own, is_remote=False, trace_flags=_SAMPLED)
        self._queue.on_end(
            ReadableSpan(
                name, context, parent, self._resource, attributes=known, start_time=began_ns, end_time=ended_ns
            )
        )

    def flush(self) -> None:
        """Send what waits. Returns when it was taken or given up."""
        self._queue.force_flush()


class _JobSpanExporter(OTLPSpanExporter):
    """Sends spans that have no events, links or status, all of one resource."""

    def __init__(self, resource: Resource, endpoint: str) -> None:
        super().__init__(endpoint)
        self._resource = [_attribute(key, value) for key, value in resource.attributes.items()]

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As SpanExporter does; what cannot be sent is given up after some tries."""
        request = ExportTraceServiceRequest(resource_spans=[ResourceSpans()])
        [told] = request.resource_spans
        told.resource.attributes.extend(self._resource)
        sent = told.scope_spans.add()
        sent.scope.name = "wanfarm"
        sent.spans.extend(map(_encoded, spans))
        taken = self._client.export(request.SerializeToString())
        return SpanExportResult.SUCCESS if taken.success else SpanExportResult.FAILURE


def _encoded(span: ReadableSpan) -> Span:
    context, parent = span.get_span_context(), span.parent
    # OtelSpans.add made it
    assert context is not None
    assert span.start_time is not None
    assert span.end_time is not None
    return Span(
        trace_id=context.trace_id.to_bytes(16),
        span_id=context.span_id.to_bytes(8),
        parent_span_id=parent.span_id.to_bytes(8) if parent else b"",
        flags=0x301 if parent else 0x101,
        name=span.name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=span.start_time,
        end_time_unix_nano=span.end_time,
        attributes=[_attribute(key, value) for key, value in (span.attributes or {}).items()],
    )


def _attribute(key: str, value: Any) -> KeyValue:
    match value:
        case bool():
            told = AnyValue(bool_value=value)
        case int():
            told = AnyValue(int_value=value)
        case float():
            told = AnyValue(double_value=value)
        case _:
            told = AnyValue(string_value=str(value))
    return KeyValue(key=key, value=told)
