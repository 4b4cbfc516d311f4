"""One job's trace and log lines across processes: a gateway, an agent and its engine, and a receiver of OTLP that reads
what they send."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from api.app import create_app
from farm import tracing
from farm.config import S3Settings
from farm.jobs.ids import new_job_id
from farm.tracing.ids import is_chosen
from farm.tracing.otel import OtelSpans
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import TENANT, farm_on
from tests.farm.agent.conftest import short_clocks

TINY = "wan2.2-ti2v-5b-tiny"
Received = dict[str, list[tuple[str, Span]]]


@pytest.fixture
def receiver() -> Iterator[tuple[str, Received]]:
    """(address, trace id -> (service, span) in the order in which they came)."""
    received: Received = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
                for span in (span for scope in resource.scope_spans for span in scope.spans):
                    received.setdefault(span.trace_id.hex(), []).append((service, span))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", received
    server.shutdown()


def test_request_queue_phases_and_upload_are_one_trace_and_its_id_is_in_every_line(
    redis_port: int, s3_server: S3Settings, tmp_path: Path, receiver: tuple[str, Received]
) -> None:
    address, received = receiver
    settings = short_clocks(redis_port, s3_server, tmp_path)
    environment = {
        "WANFARM_TRACING__ENDPOINT": address,
        "WANFARM_LOGS__JSON_LINES": "true",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "ACTIONS_OFFERS": TINY,
    }
    with farm_on(settings, tmp_path) as farm:
        farm.agent(**environment)
        app = create_app(settings)
        here = app.extensions["wanfarm"]
        here.tenants.create(TENANT)
        key = here.tenants.api_keys.create(TENANT)[1]
        gateway = OtelSpans("gateway", address)
        tracing.begin_with(gateway)
        try:
            made = app.test_client().post("/v1/jobs", json={"prompt": "ok"}, headers={"X-API-Key": key})
        finally:
            tracing.begin_with(None)
        gateway.flush()
        assert made.status_code == 201, made.text
        job = farm.committed(made.json["id"])
        trace = made.json["trace_id"]
        assert trace == job.id.replace("-", "")
        wait_until(lambda: "attempt" in {span.name for _, span in received.get(trace, [])}, what="the attempt's span")
        spans = {span.name: (service, span) for service, span in received[trace]}
        assert spans["request"][0] == "wanfarm-gateway"
        root = spans["request"][1]
        assert not root.parent_span_id
        for name in ("queue", "denoising", "uploading", "attempt"):
            service, span = spans[name]
            assert service == "wanfarm-agent"
            assert span.parent_span_id == root.span_id
            assert root.start_time_unix_nano <= span.end_time_unix_nano
        lines = [json.loads(line) for line in (tmp_path / "cpu-0.log").read_text().splitlines() if line[:1] == "{"]
        about = [line for line in lines if job.id in line["message"]]
        assert about
        assert {line["trace_id"] for line in about} == {trace}


def test_every_process_picks_the_same_share_of_jobs() -> None:
    ids = [new_job_id() for _ in range(2000)]
    assert sum(is_chosen(one, 0.25) for one in ids) in range(350, 650)
    assert not any(is_chosen(one, 0.0) for one in ids)
    assert all(is_chosen(one, 1.0) for one in ids)
