"""Request bodies, read whole before a thread is spent: how large, how long, and how many bytes at once. Those of
manifests are kept on disk, all others in memory."""

import asyncio
import gc
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from api.problems import HttpRefusal
from api.server import allocator
from farm.config import BatchSettings, GatewaySettings
from farm.jobs.errors import TooLarge, Unavailable

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: where bodies may be manifests
MANIFESTS = frozenset({"/v1/batches", "/v1/files"})
_RETRY_S = 5.0
#: bytes of a body after which freed memory is given back, and seconds until then: once for all that came meanwhile
_LARGE, _TIDY_S = 1 << 20, 0.5


class Gone(Exception):
    """The client hung up before its request was whole."""


@dataclass
class Body:
    """The body of one request.

    address  of the client
    chunks   what has come; empty where the body is kept in `file`
    held     bytes that have come; they count until `Bodies.release`
    unread   whether more may come
    """

    address: str
    chunks: list[bytes] = field(default_factory=list)
    held: int = 0
    unread: bool = False
    file: BinaryIO | None = None


class Bodies:
    """The bodies of one process that are being read or worked on. `manifests`: the limits of those that are kept on
    disk; without, none is."""

    def __init__(self, limits: GatewaySettings, manifests: BatchSettings | None = None) -> None:
        self._limits = limits
        self._manifests = manifests
        self._counts = {False: _Held(limits.max_buffered)}
        if manifests is not None:
            self._counts[True] = _Held(manifests.max_spooled)
        self._tidying = False

    async def read(self, scope: Scope, receive: Receive, body: Body) -> None:
        """Read the whole body into `body`. Raises TooLarge; HttpRefusal (408) when it takes too long; Unavailable when
        too many large ones come at once, or the disk is full; Gone."""
        length = _length(scope)
        if length == 0:
            return
        body.unread = True
        if self._manifests is not None and scope["method"] == "POST" and scope["path"] in MANIFESTS:
            body.file = tempfile.TemporaryFile(prefix="wanfarm-body-")  # noqa: SIM115 - `release` closes it
        if length is not None and length > self._most(body):
            raise _too_large(body)
        try:
            async with asyncio.timeout(self._seconds(body)):
                while body.unread:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Gone
                    body.unread = message.get("more_body", False)
                    self._hold(body, message.get("body", b""))
        except TimeoutError:
            raise HttpRefusal(408, "request-timeout", "the request's body took too long") from None
        if body.file is not None:
            body.file.seek(0)

    def _most(self, body: Body) -> int:
        return self._limits.max_body if body.file is None or self._manifests is None else self._manifests.max_body

    def _seconds(self, body: Body) -> float:
        """A manifest is large, and held by no thread and in no memory while it comes."""
        return self._limits.body_s if body.file is None or self._manifests is None else self._manifests.body_s

    def release(self, body: Body) -> None:
        """The request is over: the body's bytes count no more, and its file is closed."""
        self._counts[body.file is not None].add(body.address, -body.held)
        large, body.held = body.held >= _LARGE, 0
        if body.file is not None:
            body.file.close()
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
        if body.held + len(chunk) > self._most(body):
            raise _too_large(body)
        counts = self._counts[body.file is not None]
        if not counts.has_room(body.address, len(chunk)):
            raise Unavailable("too many large requests at once; try again in a moment", _RETRY_S)
        if body.file is None:
            body.chunks.append(chunk)
        else:
            try:
                body.file.write(chunk)
            except OSError:
                raise Unavailable("the gateway's disk is full; try again later", _RETRY_S) from None
        body.held += len(chunk)
        counts.add(body.address, len(chunk))


class _Held:
    """Bytes at one place, `most` in all and half of them for one address."""

    def __init__(self, most: int) -> None:
        self._most, self._sum = most, 0
        self._by_address: Counter[str] = Counter()

    def has_room(self, address: str, size: int) -> bool:
        return self._sum + size <= self._most and self._by_address[address] + size <= self._most // 2

    def add(self, address: str, size: int) -> None:
        self._sum += size
        self._by_address[address] += size
        if not self._by_address[address]:
            del self._by_address[address]


def _too_large(body: Body) -> TooLarge:
    remedy = "send pictures by POST /v1/uploads" if body.file is None else "send several batches"
    return TooLarge(f"the body is larger than this farm takes; {remedy}")


def _length(scope: Scope) -> int | None:
    """Bytes that the body will have; None where the client does not say."""
    said = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            said = int(value)
        elif name == b"transfer-encoding":
            return None
    return said
