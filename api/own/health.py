"""/v1/health: whether the farm works, for load balancers and people. No tenant in it."""

import threading
import time

from flask import Response, current_app
from redis.exceptions import RedisError

from api.dialect import answer
from api.own.blueprint import keyless
from api.own.operations import operation
from api.services import renderers, services
from farm.jobs.errors import FarmError
from farm.wire.own_farm_views import Health
from farm.wire.report import Reply

OK, _SILENT = "ok", "does not answer"
#: parts without which no job can be taken
_TO_ACCEPT = ("redis", "storage")
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
    if any(parts[part] != OK for part in _TO_ACCEPT):
        return Health(status="unready", parts=parts)
    return Health(status="ok" if all(said == OK for said in parts.values()) else "accepting", parts=parts)


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
@operation("Whether jobs can be taken", {200: Health, 503: Health}, keyless=True)
def ready() -> Response:
    """503 names the part without which no job can be taken: redis or storage. Without a worker, or with nobody who
    reaps, jobs are taken and wait: that is "accepting", and no reason to take gateways out of service."""
    found = _health()
    return answer(Reply(503 if found.status == "unready" else 200, found))
