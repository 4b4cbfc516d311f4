"""A TCP proxy that can turn into a black hole: connections stay open, nothing comes through. Killing a connection
does not reproduce a half-open one; this does."""

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self


class BlackHole:
    """Forwards 127.0.0.1:`port` to `target` until `swallow()`; after `heal()` only new connections work, as after a
    router lost its table."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._lock = threading.Lock()
        self._dead: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._swallowing = False
        self._closed = False
        #: connections that were ever made to it
        self.dialled = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on every open connection, and every new one, is silent."""
        with self._lock:
            self._swallowing = True
            self._dead |= self._open

    def heal(self) -> None:
        """New connections work again; the swallowed ones stay dead."""
        with self._lock:
            self._swallowing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed = True
        self._server.close()
        with self._lock:
            for connection in self._open:
                connection.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            self.dialled += 1
            threading.Thread(target=self._forward, args=(near,), daemon=True).start()

    def _forward(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            near.close()
            return
        with self._lock:
            self._open |= {near, far}
            if self._swallowing:
                self._dead |= {near, far}
        with near, far, selectors.DefaultSelector() as ready, contextlib.suppress(OSError, ValueError):
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            while not self._closed:
                for key, _ in ready.select(timeout=0.5):
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    data = source.recv(65536)
                    if source in self._dead:
                        if not data:
                            return
                        continue  # read and lost: the sender believes that it was delivered
                    if not data:
                        return
                    key.data.sendall(data)
