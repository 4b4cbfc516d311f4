"""Counting requests, and the page that Prometheus reads: this gateway's processes together."""

import os
import time

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from monitoring.metrics import HTTP_REQUESTS, HTTP_SECONDS, export
from monitoring.roles import ProcessRole

#: prometheus_client's own variable: a folder that the processes of one gunicorn share (api/gunicorn_conf.py)
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
#: what else comes as a method is one series
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def count_requests(app: Flask) -> None:
    """Export a gateway's metrics, and count every request and its seconds, by route, method and status."""
    export(ProcessRole.GATEWAY)

    @app.before_request
    def _began() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def _ended(response: Response) -> Response:
        # the rule, not the path: ids and guesses would make a series each
        rule, method = request.url_rule, request.method
        route = rule.rule if rule else "(none)"
        method = method if method in _METHODS else "(other)"
        HTTP_REQUESTS.labels(route, method, response.status_code).inc()
        if (began := g.get("began")) is not None:
            HTTP_SECONDS.labels(route).observe(time.perf_counter() - began)
        return response


def exposition() -> tuple[bytes, int, dict[str, str]]:
    """Body, status and headers of /metrics. (The whole farm's numbers are the exporter's: farm.exporter.)"""
    registry: CollectorRegistry = REGISTRY
    if SHARED_FOLDER in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), 200, {"Content-Type": CONTENT_TYPE_LATEST}
