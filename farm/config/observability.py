"""Settings of logs and traces."""

from pydantic import Field

from farm.config.section import Section


class LogSettings(Section):
    """How processes log."""

    #: one JSON object for each line of the gateway, agents, io worker, burst and exporter
    json_lines: bool = False


class TracingSettings(Section):
    """OpenTelemetry traces; they need the extra `otel`."""

    #: where spans are sent, by OTLP over HTTP: "http://127.0.0.1:4318/v1/traces". None: nowhere
    endpoint: str | None = None
    #: of all jobs, how many are traced; every process picks the same ones
    share: float = Field(default=1.0, ge=0, le=1)
