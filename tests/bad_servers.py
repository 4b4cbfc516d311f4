"""Real servers that misbehave, each on a port of its own on the loopback interface. The `serve` fixture starts them."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

Script = Callable[[socket.socket, bytes], None]


@dataclass
class Server:
    """Answers each connection with what `script` does to the socket, after reading the request's head."""

    script: Script
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def _serve(self) -> None:
        while True:
            try:
                peer = self._listener.accept()[0]
            except OSError:
                return
            self._open.append(peer)
            threading.Thread(target=self._answer, args=(peer,), daemon=True).start()

    def _answer(self, peer: socket.socket) -> None:
        head = b""
        try:
            if self.tls is not None:
                peer = self.tls.wrap_socket(peer, server_side=True)
                self._open.append(peer)
            while b"\r\n\r\n" not in head:
                block = peer.recv(4096)
                if not block:
                    return
                head += block
            self.requests.append(head)
            self.script(peer, head)
        except OSError:
            pass  # the client hung up: what most of these tests are about
        finally:
            peer.close()

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def page(body: bytes, status: str = "200 OK", **headers: str) -> Script:
    """A plain answer; `Content_Length="9"` is the header Content-Length."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]

    def script(peer: socket.socket, head: bytes) -> None:
        peer.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    return script


Serve = Callable[[Script], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(script) -> a running Server."""
    running: list[Server] = []

    def start(script: Script) -> Server:
        running.append(Server(script))
        return running[-1]

    yield start
    for server in running:
        server.close()
