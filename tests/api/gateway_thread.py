"""The gateway's server in a thread of the test's process, around an app that the test made."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from flask import Flask

from api.app import refusal
from api.server.bridge import Bridge
from api.server.connections import Socket, http_with
from api.server.worker import FarmWorker
from api.wiro_socket import sockets_of
from farm.config import BatchSettings, GatewaySettings


@contextmanager
def served(app: Flask, limits: GatewaySettings | None = None) -> Iterator[str]:
    """Its address."""
    limits = limits or GatewaySettings()
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        Bridge(app, limits, refusal, sockets_of(app), BatchSettings()),
        **FarmWorker.CONFIG_KWARGS | {"http": http_with(limits), "ws": Socket, "log_config": None},
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
