"""Counting requests, and the page that Prometheus reads: this gateway's processes together, and the ledger's counts."""

import os
import time
from collections.abc import Iterable

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from farm.jobs.errors import FarmError
from farm.jobs.worker_status import WorkerState
from farm.ledger import Ledger
from monitoring.metrics import HTTP_REQUESTS, HTTP_SECONDS, JOBS, QUARANTINED_WORKERS, WORKERS, export
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
        route = request.url_rule.rule if request.url_rule else "(none)"
        method = request.method if request.method in _METHODS else "(other)"
        HTTP_REQUESTS.labels(route, method, response.status_code).inc()
        if (began := g.get("began")) is not None:
            HTTP_SECONDS.labels(route).observe(time.perf_counter() - began)
        return response


def exposition(ledger: Ledger) -> tuple[bytes, int, dict[str, str]]:
    """Body, status and headers of /metrics."""
    registry: CollectorRegistry = REGISTRY
    if SHARED_FOLDER in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    farm = CollectorRegistry()
    farm.register(_Farm(ledger))
    return generate_latest(registry) + generate_latest(farm), 200, {"Content-Type": CONTENT_TYPE_LATEST}


class _Farm(Collector):
    """What the ledger counts; missing while it does not answer, so that an alert on absence sees it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterable[Metric]:
        try:
            states, workers = self._ledger.counts(), self._ledger.workers()
        except FarmError:
            return
        jobs = GaugeMetricFamily(JOBS[0], JOBS[1], labels=[JOBS[2]])
        for state, count in states.items():
            jobs.add_metric([state], count)
        yield jobs
        resting = [worker for worker in workers if worker.status.state is WorkerState.QUARANTINED]
        for (name, text, label), those in ((WORKERS, workers), (QUARANTINED_WORKERS, resting)):
            pools = [worker.pool for worker in those]
            gauge = GaugeMetricFamily(name, text, labels=[label])
            # a pool whose last worker went well again is 0, not missing
            for pool in sorted({worker.pool for worker in workers}):
                gauge.add_metric([pool], pools.count(pool))
            yield gauge
