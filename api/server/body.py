"""Request bodies, read whole before a thread is spent: how large, how long, and how many bytes at once."""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from api.problems import HttpRefusal
from api.server import allocator
from farm.config import GatewaySettings
from farm.jobs.errors import TooLarge, Unavailable

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_RETRY_S = 5.0
#: bytes of a body after which freed memory is given back, and seconds until then: once for all that came meanwhile
_LARGE, _TIDY_S = 1 << 20, 0.5


class Gone(Exception):
    """The client hung up before its request was whole."""


@dataclass
class Body:
    """`held` bytes are counted until `Bodies.release`. `unread`: there is, or may be, more to come."""

    address: str
    chunks: list[bytes] = field(default_factory=list)
    held: int = 0
    unread: bool = False


class Bodies:
    """The bodies of one process that are being read or worked on."""

    def __init__(self, limits: GatewaySettings) -> None:
        self._limits = limits
        self._held = 0
        self._by_address: Counter[str] = Counter()
        self._tidying = False

    async def read(self, scope: Scope, receive: Receive, body: Body) -> None:
        """Fill `body`. Raises TooLarge, HttpRefusal (408), Unavailable; Gone."""
        length = _length(scope)
        if length == 0:
            return
        body.unread = True
        if length is not None and length > self._limits.max_body:
            raise _too_large()
        try:
            async with asyncio.timeout(self._limits.body_s):
                while body.unread:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Gone
                    body.unread = message.get("more_body", False)
                    self._hold(body, message.get("body", b""))
        except TimeoutError:
            raise HttpRefusal(408, "request-timeout", "the request's body took too long") from None

    def release(self, body: Body) -> None:
        """The body is not held any more: its bytes are free for others."""
        self._held -= body.held
        self._by_address[body.address] -= body.held
        if not self._by_address[body.address]:
            del self._by_address[body.address]
        large, body.held = body.held >= _LARGE, 0
        if large:
            body.chunks.clear()
            if not self._tidying:
                self._tidying = True
                asyncio.get_running_loop().call_later(_TIDY_S, self._tidy)

    def _tidy(self) -> None:
        """Give back what large requests have left. A refusal is an exception, whose traceback keeps the request in a
        cycle: only a collection frees it."""
        self._tidying = False
        gc.collect()
        allocator.trim()

    async def drain(self, receive: Receive) -> None:
        """Read on for a moment: closed at once, the connection would be reset, and the client, which is still sending,
        would see that instead of the answer."""
        try:
            async with asyncio.timeout(self._limits.linger_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    def _hold(self, body: Body, chunk: bytes) -> None:
        if body.held + len(chunk) > self._limits.max_body:
            raise _too_large()
        most = self._limits.max_buffered
        if self._held + len(chunk) > most or self._by_address[body.address] + len(chunk) > most // 2:
            raise Unavailable("too many large requests at once; try again in a moment", _RETRY_S)
        body.chunks.append(chunk)
        body.held += len(chunk)
        self._held += len(chunk)
        self._by_address[body.address] += len(chunk)


def _too_large() -> TooLarge:
    return TooLarge("the body is larger than this farm takes; send pictures by POST /v1/uploads")


def _length(scope: Scope) -> int | None:
    """Bytes that the body will have; None where the client does not say."""
    said = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            said = int(value)
        elif name == b"transfer-encoding":
            return None
    return said
