"""gunicorn starts, watches and restarts the processes; uvicorn reads and writes in each; the bridge calls Flask."""

import socket
from types import FrameType
from typing import Any, ClassVar

from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

#: the kernel keeps so many connections that were not accepted yet
_BACKLOG = 2048


class FarmWorker(UvicornWorker):  # type: ignore[misc]  # publishes no types
    """Our own modules are imported after the fork: counts of prometheus_client begin with the process."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "asyncio",
        "ws_max_size": 65536,
        "ws_ping_interval": 25.0,
        "ws_ping_timeout": 25.0,
        "interface": "asgi3",
        "lifespan": "off",
        # who a client is, its connection says; a proxy's word counts nothing
        "proxy_headers": False,
        "server_header": False,
        # one process takes no more than a few of the connections that wait, so that the others get some
        "backlog": 4,
    }

    async def _serve(self) -> None:
        from api.app import refusal
        from api.server.bridge import Bridge
        from api.server.connections import Socket, http_with
        from api.wiro_socket import sockets_of
        from farm.config import load

        settings = load()
        limits = settings.gateway
        self.config.http, self.config.ws = http_with(limits), Socket
        self.config.timeout_graceful_shutdown = self.cfg.graceful_timeout
        self.config.app = Bridge(self.wsgi, limits, refusal, sockets_of(self.wsgi), settings.batches)
        self._install_sigquit_handler()
        await _Server(self.config).serve(sockets=self.sockets)


class _Server(Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(_BACKLOG)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        from api.streams import stopping

        # event streams never end by themselves
        stopping.set()
        super().handle_exit(sig, frame)
