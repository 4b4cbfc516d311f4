"""/v1/health and /metrics: whether the farm works, for load balancers, people and Prometheus. No tenant in it."""

import threading
import time

from flask import Response, current_app
from redis.exceptions import RedisError

from api.auth import authenticate, bearer_or_header, require_admin
from api.dialect import answer
from api.metrics import exposition
from api.own.blueprint import keyless
from api.own.operations import operation
from api.services import renderers, services
from farm.jobs.errors import FarmError
from farm.wire.own_views import Health, ProblemView
from farm.wire.report import Reply

OK, _SILENT = "ok", "does not answer"
#: anybody may ask, so the parts are not asked more often than this
_TRUST_S = 0.5
#: reaps that may be missed, and the least time, before that is reported, s
_MISSED, _LATE_S = 5, 30.0


class Readiness:
    """What the parts last answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._parts: dict[str, str] = {}

    def parts(self) -> dict[str, str]:
        """Part -> "ok" or what is wrong with it; asked anew every few seconds."""
        with self._lock:
            if time.monotonic() - self._asked >= _TRUST_S:
                self._parts = {"redis": _redis(), "storage": _storage(), "workers": _workers(), "reaper": _reaper()}
                self._asked = time.monotonic()
            return self._parts


def _redis() -> str:
    try:
        services().redis.ping()
    except RedisError:
        return _SILENT
    return OK


def _storage() -> str:
    here = services()
    return here.uploads.quota.shortage() or (OK if here.store.ready() else _SILENT)


def _workers() -> str:
    try:
        return OK if renderers() else "none is alive"
    except FarmError:
        return "unknown"


def _reaper() -> str:
    """Jobs of workers that died, retries and callbacks wait for it."""
    try:
        age_s = services().ledger.reaped_s_ago()
    except FarmError:
        return "unknown"
    if age_s is None:
        return "nobody has reaped yet"
    late_s = max(_LATE_S, _MISSED * services().settings.scheduling.reap_every_s)
    return OK if age_s <= late_s else f"nobody has reaped for {age_s:.0f} s"


def _health() -> Health:
    readiness = current_app.extensions.setdefault("wanfarm-readiness", Readiness())
    parts = readiness.parts()
    return Health(status="ok" if all(said == OK for said in parts.values()) else "unready", parts=parts)


@keyless.get("/v1/health")
@operation("How the farm is", {200: Health}, keyless=True)
def health() -> Response:
    """Whether the farm's parts answer."""
    return answer(Reply(200, _health()))


@keyless.get("/v1/health/live")
@operation("Whether this process answers", {200: Health}, keyless=True)
def live() -> Response:
    """Whether this process answers."""
    return answer(Reply(200, Health(status="ok")))


@keyless.get("/v1/health/ready")
@operation("Whether jobs can be taken and rendered", {200: Health, 503: Health}, keyless=True)
def ready() -> Response:
    """503 names the part that is missing: redis, storage, a worker, or who reaps."""
    found = _health()
    return answer(Reply(200 if found.status == "ok" else 503, found))


@keyless.get("/metrics")
@operation("Prometheus metrics", {200: "text/plain", 401: ProblemView, 403: ProblemView})
def metrics() -> Response:
    """For a key with the role admin, or for anybody where the operator opened it (gateway.open_metrics)."""
    if not services().settings.gateway.open_metrics:
        authenticate(bearer_or_header())
        require_admin()
    return Response(*exposition(services().ledger))
