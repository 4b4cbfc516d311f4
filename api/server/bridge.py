"""From a whole request to a thread and back: the ASGI side of a WSGI application. Streams and sockets get threads of
their own, after they were admitted."""

import asyncio
import contextlib
import contextvars
import io
import logging
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from api.dialect import dump
from api.request_ids import HEADER, new_id
from api.server.body import Bodies, Body, Gone, Receive, Scope
from api.server.connections import CONNECTION, Http
from api.server.feed import Feed
from api.server.marks import GONE, STREAM, TENANT
from api.server.places import Places
from farm.config import BatchSettings, GatewaySettings
from farm.intake import rendition
from farm.wire.report import Reply
from monitoring.metrics import HTTP_REFUSED

log = logging.getLogger(__name__)

#: a client that takes nothing of an answer for so long is given up
STALL_S = 30.0
_REMEMBERED = 4096

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Headers = list[tuple[bytes, bytes]]
SocketView = Callable[[Scope, Receive, Send], Awaitable[None]]


class Bridge:
    """The ASGI application of one process. `refusal`: makes the answer of an error, in the form of the path's dialect.
    `sockets`: takes WebSockets; None refuses them. `manifests`: limits of bodies that are kept on disk; None: none
    is."""

    def __init__(
        self,
        app: Wsgi,
        limits: GatewaySettings,
        refusal: Callable[[str, Exception], Reply],
        sockets: SocketView | None = None,
        manifests: BatchSettings | None = None,
    ) -> None:
        self._app, self._refusal, self._sockets = app, refusal, sockets
        self._bodies, self._places = Bodies(limits, manifests), Places(limits.threads)
        self._tenants: OrderedDict[bytes, str] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or socket, as ASGI hands it over."""
        if scope["type"] == "websocket":
            if self._sockets is not None:
                await self._sockets(scope, receive, send)
            else:
                await send({"type": "websocket.close"})
            return
        body = Body(scope["client"][0] if scope["client"] else "")
        try:
            await self._answer(scope, receive, send, body)
        except Gone:
            return
        except TimeoutError:
            scope[CONNECTION].abort()
        finally:
            self._bodies.release(body)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, body: Body) -> None:
        connection: Http = scope[CONNECTION]
        exchange = _Exchange(self._app, connection)
        try:
            await self._bodies.read(scope, receive, body)
            # uvicorn leaves a large body's connection paused, and would not see its client hang up
            connection.flow.resume_reading()
            connection.waiting = False
            exchange.environ = _environ(scope, body.file or io.BytesIO(b"".join(body.chunks)), body.held, connection)
            body.chunks.clear()
            mark = _credential(scope)
            self._places.run(self._tenants.get(mark) or f"@{body.address}", exchange.run)
        except Gone:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            reply = self._refusal(scope["path"], error)
            HTTP_REFUSED.labels(str(reply.status)).inc()
            await _send(send, *_rendered(reply), drain=self._drain(receive) if body.unread else None)
            return
        await exchange.answered
        if exchange.failed is not None:
            reply = self._refusal(scope["path"], exchange.failed)
            await _send(send, *_rendered(reply))
        elif exchange.stream is not None:
            await exchange.pump(send)
        elif not connection.lost:
            await _send(send, exchange.status, exchange.headers, exchange.body)
        self._learn(mark, exchange.environ.get(TENANT))

    def _drain(self, receive: Receive) -> Callable[[], Awaitable[None]]:
        return lambda: self._bodies.drain(receive)

    def _learn(self, mark: bytes, tenant: str | None) -> None:
        """Whose requests these are, for the turns of the next ones."""
        if tenant is None:
            self._tenants.pop(mark, None)
        elif self._tenants.get(mark) != tenant:
            self._tenants[mark] = tenant
            while len(self._tenants) > _REMEMBERED:
                self._tenants.popitem(last=False)


class _Exchange:
    """One call of the application, in a thread and a context of its own."""

    def __init__(self, app: Wsgi, connection: Http) -> None:
        self._app, self._connection = app, connection
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self.answered: asyncio.Future[None] = self._loop.create_future()
        self.environ: dict[str, Any] = {}
        self.status, self.headers, self.body = 500, list[tuple[bytes, bytes]](), b""
        self.stream: Iterable[bytes] | None = None
        self.failed: Exception | None = None

    def run(self) -> None:
        try:
            # a request whose client has left is not begun
            if not self._connection.lost:
                self._context.run(self._call)
        except Exception as error:  # noqa: BLE001 - becomes an answer
            self.failed = error
        finally:
            self._tell(self.answered)

    def _call(self) -> None:
        rendition.abandoned.set(lambda: self._connection.lost)
        chunks = self._app(self.environ, self._start)
        if self.environ.get(STREAM):
            self.stream = chunks
            return
        try:
            self.body = b"".join(chunks)
        finally:
            _close(chunks)

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        self.status = int(status.split(" ", 1)[0])
        self.headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return _no_write

    async def pump(self, send: Send) -> None:
        """Send what the stream gives, as fast as the client takes it: from a thread of its own, or as it is fed."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        if isinstance(feed := self.environ[STREAM], Feed):
            await self._pass_on(feed, send)
            return
        done: asyncio.Future[None] = self._loop.create_future()
        threading.Thread(target=self._context.run, args=(self._pump, send, done), name="stream", daemon=True).start()
        await done
        await send({"type": "http.response.body", "body": b""})

    async def _pass_on(self, feed: Feed, send: Send) -> None:
        came = asyncio.Event()
        self._connection.on_lost = came.set

        def wake() -> None:
            """Called by the thread that writes the feed."""
            # a closed loop sends nothing more
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(came.set)

        feed.wake_by(wake)
        try:
            while not self._connection.lost:
                if (chunk := feed.take()) is None:
                    await send({"type": "http.response.body", "body": b""})
                    return
                if chunk:
                    await _within_stall(send, {"type": "http.response.body", "body": chunk, "more_body": True})
                    continue
                await came.wait()
                came.clear()
        finally:
            if self.stream is not None:
                _close(self.stream)

    def _pump(self, send: Send, done: "asyncio.Future[None]") -> None:
        assert self.stream is not None
        try:
            for chunk in self.stream:
                if self._connection.lost:
                    break
                part = {"type": "http.response.body", "body": chunk, "more_body": True}
                asyncio.run_coroutine_threadsafe(_within_stall(send, part), self._loop).result()
        except Exception as error:  # noqa: BLE001 - the headers are sent: all that is left is to break off
            log.warning("a stream broke off: %s", error or type(error).__name__)
            self._loop.call_soon_threadsafe(self._connection.abort)
        finally:
            _close(self.stream)
            self._tell(done)

    def _tell(self, future: "asyncio.Future[None]") -> None:
        # a closed loop has no waiting coroutine
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(settle, future)


def settle(future: "asyncio.Future[None]") -> None:
    """Set a future's result, unless it is done. Call it in the loop's thread."""
    if not future.done():
        future.set_result(None)


async def _within_stall(send: Send, message: MutableMapping[str, Any]) -> None:
    async with asyncio.timeout(STALL_S):
        await send(message)


async def _send(
    send: Send, status: int, headers: Headers, body: bytes, drain: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Send an answer. `drain`: reads what the client still sends, before the end of the answer; then the connection is
    closed."""
    if drain is not None:
        headers = [*headers, (b"connection", b"close")]
    async with asyncio.timeout(STALL_S):
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if drain is not None:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await drain()
            body = b""
        await send({"type": "http.response.body", "body": body})


def _rendered(reply: Reply) -> tuple[int, Headers, bytes]:
    body = reply.body if isinstance(reply.body, (bytes, str)) else dump(reply.body)
    data = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": "application/json", **reply.headers, HEADER: new_id(), "Content-Length": str(len(data))}
    return reply.status, [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers.items()], data


def _environ(scope: Scope, body: BinaryIO, size: int, connection: Http) -> dict[str, Any]:
    """PEP 3333's, as the connection says it: no header of a client moves the application (SCRIPT_NAME) or says who it
    is (X-Forwarded-For), and one with an underscore, which would look like another's, is dropped."""
    server = scope.get("server") or ("", 0)
    made: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        GONE: lambda: connection.lost,
    }
    for raw, value in scope["headers"]:
        if b"_" in raw:
            continue
        name, text = raw.decode("latin-1").upper().replace("-", "_"), value.decode("latin-1")
        if name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            made[name] = text
            continue
        key = f"HTTP_{name}"
        made[key] = f"{made[key]}{'; ' if name == 'COOKIE' else ','}{text}" if key in made else text
    if size and "CONTENT_LENGTH" not in made:
        made["CONTENT_LENGTH"] = str(size)
    return made


def _credential(scope: Scope) -> bytes:
    return b"\n".join(value for name, value in scope["headers"] if name in (b"authorization", b"x-api-key"))


def _close(chunks: Iterable[bytes]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


def _no_write(_data: bytes) -> None:
    raise NotImplementedError("write() is not offered; return the body")
