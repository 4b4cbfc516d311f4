"""Whether a part serves now. Each question takes a second at most and has no answer but yes or no."""

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import httpx
from redis.exceptions import RedisError

from farm.config import RedisSettings, S3Settings, Settings
from farm.jobs.errors import FarmError
from farm.jobs.worker_status import WorkerState
from farm.ledger import Ledger
from farm.ledger.connection import connect
from farm.ledger.ledger import BURST_POOL, INTAKE_POOL
from farm.storage.store import Store
from monitoring.roles import ProcessRole

_ANSWER_S = 1.0
#: parts speak plain HTTP: for each look httpx would read all authorities, 30 ms of CPU
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
#: what an agent says of itself before its engine takes work
_NOT_YET = frozenset({WorkerState.STARTING, WorkerState.BROKEN})


def redis_answers(settings: RedisSettings) -> Callable[[], bool]:
    """PING. A Redis that still loads its append-only file listens already, and answers LOADING until it is through."""
    client = connect(settings.model_copy(update={"socket_timeout_s": _ANSWER_S, "connect_timeout_s": _ANSWER_S}))

    def ready() -> bool:
        try:
            return bool(client.ping())
        except RedisError:
            return False
        finally:
            # a connection kept over a restart of the server would only spoil the next question
            client.connection_pool.disconnect()

    return ready


def bucket_there(settings: S3Settings) -> Callable[[], bool]:
    """The S3 server answers with our keys, and the bucket exists (it is made when it does not)."""
    store = Store(settings)

    def ready() -> bool:
        if store.ready():
            return True
        try:
            store.ensure_bucket()
        except FarmError:
            return False
        return store.ready()

    return ready


def front_answers(endpoint: str) -> Callable[[], bool]:
    """What stands before the S3 server answers a browser's preflight, for which it asks nobody."""
    asked = {"Origin": "http://localhost", "Access-Control-Request-Method": "GET"}

    def ready() -> bool:
        try:
            answer = httpx.options(
                f"http://{endpoint}/", headers=asked, timeout=_ANSWER_S, trust_env=False, verify=_NO_TLS
            )
        except httpx.HTTPError:
            return False
        return answer.status_code == 204

    return ready


def gateway_answers(url: str) -> Callable[[], bool]:
    """It lives. (/v1/health/ready is about the whole farm: each part is asked here by itself.)"""

    def ready() -> bool:
        try:
            answer = httpx.get(f"{url}/v1/health/live", timeout=_ANSWER_S, trust_env=False, verify=_NO_TLS)
            return answer.status_code == 200
        except httpx.HTTPError:
            return False

    return ready


#: pools whose workers render nothing
_NO_GPU = frozenset({INTAKE_POOL, BURST_POOL})


class Roll:
    """Who has told the ledger that it is there. A worker of the last start is believed for some seconds: only those
    whose process is alive count."""

    def __init__(self, settings: Settings) -> None:
        patience = {"socket_timeout_s": _ANSWER_S, "connect_timeout_s": _ANSWER_S}
        self._ledger = Ledger(connect(settings.redis.model_copy(update=patience)), settings)

    def renders(self) -> bool:
        """An agent whose engine is up."""
        return any(pool not in _NO_GPU and state not in _NOT_YET for pool, state in self._present())

    def takes_in(self) -> bool:
        """The io worker."""
        return any(pool == INTAKE_POOL for pool, _ in self._present())

    def buys(self) -> bool:
        """A process that buys and follows."""
        return any(pool == BURST_POOL for pool, _ in self._present())

    def exports(self) -> bool:
        """The exporter, from this machine."""
        try:
            pages = self._ledger.pages()
        except FarmError:
            return False
        here = socket.gethostname()
        return any(_serves(one.address) for one in pages if one.role == ProcessRole.EXPORTER and one.machine == here)

    def _present(self) -> list[tuple[str, WorkerState]]:
        try:
            workers = self._ledger.workers()
        except FarmError:
            return []
        return [(one.pool, one.status.state) for one in workers if _alive(one.status.pid)]


def _serves(address: str) -> bool:
    """Something listens there; a scrape would cost the ledger more than the question is worth."""
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S):
        return True
    return False


def _alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
