"""One WebSocket as a view in a thread sees it: the first message is there, texts go out, and it may be gone."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from api.server.body import Receive, Scope
from api.server.bridge import STALL_S, Send, SocketView, settle
from api.server.connections import CONNECTION

log = logging.getLogger(__name__)

#: a client that has said nothing by then is sent away; it has cost no thread
REGISTER_S = 10.0
#: messages after the first one: more is no use of anybody's
_MOST_MESSAGES = 1000


class SocketClient:
    """`send` waits until the message went out, and raises ConnectionError when it cannot."""

    def __init__(self, send: Send) -> None:
        self._send, self._loop = send, asyncio.get_running_loop()
        self.gone = False

    def send(self, text: str) -> None:
        """Send a text. Raises ConnectionError when the client is gone or does not listen."""
        self._call({"type": "websocket.send", "text": text})

    def close(self, code: int, reason: str = "") -> None:
        """Close the socket with a WebSocket code. Raises ConnectionError when the client is gone."""
        self._call({"type": "websocket.close", "code": code, "reason": reason})

    def _call(self, message: dict[str, Any]) -> None:
        if self.gone:
            raise ConnectionError("the client is gone")
        try:
            asyncio.run_coroutine_threadsafe(self._within_stall(message), self._loop).result()
        except Exception as error:
            self.gone = True
            raise ConnectionError("the client does not listen") from error

    async def _within_stall(self, message: dict[str, Any]) -> None:
        async with asyncio.timeout(STALL_S):
            await self._send(message)


def served(paths: frozenset[str], view: Callable[[SocketClient, str], None]) -> SocketView:
    """`view` gets the first text of each socket at one of the paths, in a thread of its own."""

    async def socket(scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, to its end: refused elsewhere, and closed when nothing is said within REGISTER_S."""
        await receive()
        if scope["path"] not in paths:
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        try:
            async with asyncio.timeout(REGISTER_S):
                first = await receive()
        except TimeoutError:
            await send({"type": "websocket.close", "code": 1008, "reason": "nothing was said"})
            return
        if first["type"] == "websocket.receive":
            scope[CONNECTION].waiting = False
            await _serve(SocketClient(send), first.get("text") or "", view, receive, send)

    return socket


async def _serve(
    client: SocketClient, text: str, view: Callable[[SocketClient, str], None], receive: Receive, send: Send
) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        """The view's thread: whatever it raises, the waiting coroutine goes on."""
        try:
            view(client, text)
        except ConnectionError:
            log.debug("a socket's client left")
        except Exception:
            log.exception("a socket ended badly")
        finally:
            with contextlib.suppress(RuntimeError):
                # a closed loop has no waiting coroutine
                loop.call_soon_threadsafe(settle, done)

    threading.Thread(target=run, name="socket", daemon=True).start()
    listening = asyncio.create_task(_listen(client, receive))
    try:
        await done
    finally:
        listening.cancel()
        if not client.gone:
            await send({"type": "websocket.close", "code": 1000})


async def _listen(client: SocketClient, receive: Receive) -> None:
    """What is said after the first message means nothing; who left is noticed."""
    for _ in range(_MOST_MESSAGES):
        if (await receive())["type"] == "websocket.disconnect":
            break
    client.gone = True
