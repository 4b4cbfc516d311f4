"""/metrics, and where every other page of the farm's metrics is: Prometheus' HTTP service discovery."""

import socket
from collections.abc import Iterator

from flask import Response, jsonify, request

from api.auth import authenticate, bearer_or_header, require
from api.metrics import exposition
from api.own.blueprint import keyless
from api.own.operations import operation
from api.services import services
from farm.claiming.page_address import on_loopback
from farm.jobs.metrics_page import MetricsPage
from farm.jobs.roles import Role
from farm.ledger import BURST_POOL, INTAKE_POOL
from farm.wire.own_views import ProblemView
from monitoring.roles import ProcessRole

#: pools whose workers are no agents
_ROLES = {INTAKE_POOL: ProcessRole.IO_WORKER, BURST_POOL: ProcessRole.BURST}


@keyless.get("/metrics")
@operation("Prometheus metrics", {200: "text/plain", 401: ProblemView, 403: ProblemView}, role=Role.OPERATOR)
def metrics() -> Response:
    """For anybody where the operator opened it (gateway.open_metrics)."""
    _may_read()
    return Response(*exposition())


@keyless.get("/metrics/targets")
@operation(
    "Where each process shows its metrics (Prometheus HTTP service discovery)",
    {200: "application/json", 401: ProblemView, 403: ProblemView},
    role=Role.OPERATOR,
)
def targets() -> Response:
    """Gateways, the exporter, agents, io workers and burst processes that live, as Prometheus' http_sd_configs reads
    them. A page on a loopback address is told to askers of its own machine only."""
    _may_read()
    here, local = socket.gethostname(), on_loopback(f"{request.remote_addr or ''}:0")
    return jsonify(
        [
            {"targets": [page.address], "labels": {"job": f"wanfarm-{page.role}", "machine": page.machine, **labels}}
            for page, labels in _pages()
            if not on_loopback(page.address) or (local and page.machine == here)
        ]
    )


def _may_read() -> None:
    if not services().settings.gateway.open_metrics:
        authenticate(bearer_or_header())
        require(Role.OPERATOR)


def _pages() -> Iterator[tuple[MetricsPage, dict[str, str]]]:
    for page in services().ledger.pages():
        yield page, {}
    for worker in services().ledger.workers():
        if worker.status.metrics is None:
            continue
        role = _ROLES.get(worker.pool, ProcessRole.AGENT)
        page = MetricsPage(role.replace(" ", "-"), worker.status.host or "", worker.status.metrics)
        yield page, {"device": worker.status.slot} if worker.status.slot else {}
