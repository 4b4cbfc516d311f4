"""Sockets that go to a vetted address and stop at a deadline. The name is used for TLS and Host, never looked up."""

import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore

from farm.guard.addresses import Address

#: how many of a name's addresses are tried
_TRIES = 4


class Deadline:
    """A moment on the monotonic clock after which nothing may go on."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self._end - time.monotonic()

    def within(self, timeout_s: float | None, error: type[Exception]) -> float:
        """The shorter of `timeout_s` and the time left; raises `error` when none is left."""
        left = self.left_s
        if left <= 0:
            raise error("the deadline has passed")
        return left if timeout_s is None else min(timeout_s, left)


class PinnedBackend(httpcore.NetworkBackend):
    """Dials one of `addresses` whatever host it is asked for, so that no second lookup can change the answer."""

    def __init__(self, addresses: Sequence[Address], deadline: Deadline) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Dial the addresses that were checked, whatever the host's name resolves to now. Raises
        httpcore.ConnectError or ConnectTimeout."""
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._addresses[:_TRIES]:
            limit_s = self._deadline.within(timeout, httpcore.ConnectTimeout)
            try:
                stream = self._sockets.connect_tcp(str(address), port, limit_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream, self._deadline)
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Always raises httpcore.ConnectError: a URL must not reach sockets of this machine."""
        raise httpcore.ConnectError("the guard dials no sockets of this machine")


class _Stream(httpcore.NetworkStream):
    """A stream on which every read and write, however small, ends at the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.within(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # in pieces, because the sockets below renew the timeout for whatever part went out
        for start in range(0, len(buffer), 65536):
            piece = buffer[start : start + 65536]
            self._stream.write(piece, self._deadline.within(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        limit_s = self._deadline.within(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, limit_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
