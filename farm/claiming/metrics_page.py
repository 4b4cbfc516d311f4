"""Serves a worker process's metrics to Prometheus. Knows no metric."""

import logging
from contextlib import suppress
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from farm.claiming.page_address import dialled
from monitoring.metrics import export
from monitoring.roles import ProcessRole

log = logging.getLogger(__name__)


def serve_metrics(role: ProcessRole, host: str, port: int, *, any_port: bool = False) -> str | None:
    """Export the metrics of `role`, and serve them from a thread until it ends; "host:port" as others dial it, or None
    when `port` is 0, which means a free one with `any_port`.
    A port that is taken (by another farm, by an agent that has not quite ended) is replaced by a free one: work goes
    on, and workers tell where they listen. Raises OSError for a host that is not this machine's."""
    export(role)
    if not port and not any_port:
        return None
    server: WSGIServer | None = None
    with suppress(OSError):
        server, _ = start_http_server(port, host)
    if server is None:
        server, _ = start_http_server(0, host)
        log.warning("port %d is taken; metrics are on %d", port, server.server_port)
    return dialled(host, server.server_port)
