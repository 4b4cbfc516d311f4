"""How gunicorn runs the gateway: `gunicorn --config python:api.gunicorn_conf "api.app:create_app()"`. What is given on
the command line goes before what stands here."""

import gc
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import Any

from api.server import allocator
from farm import lifeline, tracing
from farm.config import load

_settings = load()

bind = f"{_settings.gateway.host}:{_settings.gateway.port}"
workers = _settings.gateway.processes
worker_class = "api.server.worker.FarmWorker"
#: seconds that running requests get to end; event streams end at once (api.streams.stopping)
graceful_timeout = 10
control_socket_disable = True
#: a worker says that it is alive by touching a file: not one on a disk that may be slow
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - gunicorn makes a private file in it

#: prometheus_client counts over all processes in this folder; it reads the variable when it is first imported
_shared = Path(
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(_settings.state_dir.absolute() / "gateway-metrics"))
)


def on_starting(_server: Any) -> None:
    """Remove the metric files of an earlier master."""
    # the counts of a master that is gone would be added to this one's
    shutil.rmtree(_shared, ignore_errors=True)
    _shared.mkdir(parents=True)


def post_fork(_server: Any, worker: Any) -> None:
    """A worker that is new ends with its master, gives memory back, and logs like the rest of the farm."""
    # gunicorn's own check that its master lives takes a second or more, and only between requests
    lifeline.bind(parent=worker.ppid)
    allocator.bound()
    from api.request_ids import FORMAT, WithRequestId

    handler = tracing.log_handler(json_lines=_settings.logs.json_lines, text_format=FORMAT)
    handler.addFilter(WithRequestId())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    tracing.begin("gateway", _settings.tracing.endpoint, _settings.tracing.share)


def post_worker_init(worker: Any) -> None:
    """Say what the ledger is on, tell it where this gateway's metrics are, and shorten the pauses of the collector."""
    from farm.claiming.page_address import announce, dialled
    from farm.ledger import Ledger
    from farm.ledger.connection import connect
    from farm.ledger.server import say
    from monitoring.roles import ProcessRole

    redis = connect(_settings.redis)
    say(redis, _settings.redis)
    host, port = worker.sockets[0].getsockname()[:2]
    # all processes of this gateway tell the same: one page adds them up
    announce(Ledger(redis, _settings), ProcessRole.GATEWAY, dialled(host, port), threading.Event())
    # what is loaded by now stays: a collection that walks it stops all answers for a tenth of a second
    gc.collect()
    gc.freeze()


def child_exit(_server: Any, worker: Any) -> None:
    """Take the gauges of a worker that has ended off the metrics page."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
