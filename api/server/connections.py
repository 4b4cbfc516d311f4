"""Connections: how many, from whom, and how long one may keep the farm waiting for a request. None costs a thread."""

import asyncio
import ipaddress
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

from api.problems import HttpRefusal, render_error
from api.request_ids import HEADER, new_id
from farm.config import GatewaySettings
from farm.jobs.errors import TooMany
from farm.wire.report import Reply
from monitoring.metrics import CONNECTIONS_CLOSED

log = logging.getLogger(__name__)

#: where a request finds its connection, in the ASGI scope
CONNECTION = "wanfarm.connection"
#: bytes and number of a request's header lines
MAX_HEAD, MAX_HEADERS = 64 * 1024, 100


class _Open(Protocol):
    """`waiting`: for the client, which has not yet sent a whole request."""

    waiting: bool

    def evict(self) -> None: ...


class Connections:
    """The open connections of one process. One more than an address may have takes the place of the oldest one that
    still waits for its client; where none does, it is refused."""

    def __init__(self, most: int, per_address: int, proxies: tuple[str, ...] = ()) -> None:
        self._most, self._per_address = most, per_address
        self._proxies = [ipaddress.ip_network(proxy) for proxy in proxies]
        self._all: OrderedDict[_Open, str] = OrderedDict()
        self._by_address: defaultdict[str, OrderedDict[_Open, None]] = defaultdict(OrderedDict)

    def enter(self, connection: _Open, address: str) -> bool:
        """Count a connection; False when neither its address nor the process has room for it."""
        limited = not self._is_proxy(address)
        if limited and not _room(self._by_address[address], self._per_address, self.leave):
            return False
        if not _room(self._all, self._most, self.leave):
            return False
        self._all[connection] = address
        self._by_address[address][connection] = None
        return True

    def swap(self, old: _Open, new: _Open) -> None:
        """A connection goes on under another protocol."""
        address = self._all.get(old)
        if address is not None:
            self.leave(old)
            self._all[new] = address
            self._by_address[address][new] = None

    def leave(self, connection: _Open) -> None:
        """Forget a connection. May be called twice."""
        address = self._all.pop(connection, None)
        if address is not None:
            same = self._by_address[address]
            same.pop(connection, None)
            if not same:
                del self._by_address[address]

    def _is_proxy(self, address: str) -> bool:
        if not self._proxies:
            return False
        try:
            there = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(there in network for network in self._proxies)


def _nobody_asks() -> None:
    """No answer waits for the end of its connection."""


def _room(among: "OrderedDict[_Open, Any]", most: int, leave: Callable[[_Open], None]) -> bool:
    if len(among) < most:
        return True
    oldest = next((one for one in among if one.waiting), None)
    if oldest is None:
        return False
    leave(oldest)
    oldest.evict()
    return True


class Http(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with total deadlines: a request's head has header_s from its first byte, or from the
    connection on, an answered connection has keepalive_s until the next head is whole."""

    limits: GatewaySettings
    everyone: Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, or refuse it."""
        super().connection_made(transport)
        self.waiting = True
        self.lost = False
        self.on_lost: Callable[[], None] = _nobody_asks
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head, self._over = True, False
        if not self.everyone.enter(self, self.client[0] if self.client else ""):
            CONNECTIONS_CLOSED.labels("refused").inc()
            self._over = True
            transport.write(_raw(render_error(TooMany("too many connections from this address", retry_after_s=5.0))))
            transport.close()
            return
        self._arm(self.limits.header_s, self._head_over)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.lost = True
        self.on_lost()
        self._disarm()
        self.everyone.leave(self)
        super().connection_lost(exc)

    def evict(self) -> None:
        """Close the connection to make room for another."""
        self._close("evicted")

    def data_received(self, data: bytes) -> None:
        """Read what came; a header that is too large is refused."""
        if self._over or self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD and not self._over:
            self.refuse(HttpRefusal(431, "request-header-fields-too-large", "the header is too large"), "head")

    def on_message_begin(self) -> None:
        """A request begins: its header has a deadline."""
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[CONNECTION] = self
        self._in_head, self._head_bytes = True, 0
        self._arm(self.limits.header_s, self._head_over)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line. Raises ValueError for too many."""
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            raise ValueError("too many header lines")

    def on_headers_complete(self) -> None:
        """The header is whole."""
        self._in_head = False
        self._disarm()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The answer went out: the next request has a deadline."""
        super().on_response_complete()
        self._unset_keepalive_if_required()
        if not self.pipeline:
            # of a connection that is to close, too: whoever does not read its answer is not waited for
            self.waiting = True
            self._arm(self.limits.keepalive_s, self._idle_over)

    def handle_websocket_upgrade(self) -> None:
        """The connection becomes a WebSocket and is counted on."""
        self._disarm()
        super().handle_websocket_upgrade()
        socket = self.transport.get_protocol()
        if isinstance(socket, Socket):
            self.everyone.swap(self, socket)
            socket.everyone = self.everyone

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self.refuse(HttpRefusal(400, "bad-request", "this is no HTTP/1.1 request"), "malformed")

    def refuse(self, error: Exception, reason: str) -> None:
        """Answer what is no request of anybody's, and close. In the middle of an earlier request's answer nothing can
        be said."""
        if self.cycle is not None and not self.cycle.response_complete:
            CONNECTIONS_CLOSED.labels(reason).inc()
            self.abort()
            return
        CONNECTIONS_CLOSED.labels(reason).inc()
        self._over = True
        self.transport.write(_raw(render_error(error)))
        # closed at once, with more on its way, the connection would be reset before the answer is read
        self.transport.write_eof()
        self._arm(self.limits.linger_s, self.abort)

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self.transport.abort()

    def _close(self, reason: str) -> None:
        CONNECTIONS_CLOSED.labels(reason).inc()
        self._arm(self.limits.linger_s, self.abort)
        self.transport.close()

    def _head_over(self) -> None:
        if self._head_bytes:
            self.refuse(HttpRefusal(408, "request-timeout", "the request's header took too long"), "slow")
        else:
            self._close("silent")

    def _idle_over(self) -> None:
        if self.transport.get_write_buffer_size():
            self.abort()
        else:
            self.transport.close()

    def _arm(self, seconds: float, then: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, then)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Socket(WSProtocol):
    """uvicorn's WebSocket, counted like every other connection."""

    everyone: Connections | None = None
    #: until whoever serves it says otherwise
    waiting = True

    def handle_connect(self, event: Any) -> None:
        """Note the connection for those who serve the socket."""
        super().handle_connect(event)
        cast(dict[str, Any], self.scope)[CONNECTION] = self

    def evict(self) -> None:
        """Close the socket to make room for another."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self.everyone is not None:
            self.everyone.leave(self)
        super().connection_lost(exc)


def http_with(limits: GatewaySettings) -> type[Http]:
    """The protocol for a server with these limits."""
    everyone = Connections(limits.max_connections, limits.connections_per_address, limits.proxies)
    return type("FarmHttp", (Http,), {"limits": limits, "everyone": everyone})


def _raw(reply: Reply) -> bytes:
    body = reply.body.encode() if isinstance(reply.body, str) else bytes(reply.body or b"")
    headers = {**reply.headers, HEADER: new_id(), "Content-Length": str(len(body)), "Connection": "close"}
    lines = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers.items())
    return STATUS_LINE[reply.status] + lines + b"\r\n" + body
