"""Request bodies as they come over the wire: how long one may take, and what becomes of one that nobody read."""

import logging
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from flask import Request, Response, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge

log = logging.getLogger(__name__)

#: between two reads of a body, or two writes of an answer, before the client counts as gone
PATIENCE_S = 30.0
#: a refused body is read and thrown away for so long, so that the client gets to read the refusal
LINGER_S = 3.0
_BLOCK = 64 * 1024

_Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WholeRequest(Request):
    """A body that is cut off at the limit is a refusal, also where no length was announced: Werkzeug reads such a one
    up to the limit and says nothing."""

    def get_data(self, *args: Any, **kwargs: Any) -> Any:
        data = super().get_data(*args, **kwargs)
        most = self.max_content_length
        if self.content_length is None and most is not None and len(data) >= most:
            raise RequestEntityTooLarge
        return data


def read_with_patience(app: _Wsgi) -> _Wsgi:
    """gunicorn's threads would wait for ever for the rest of a body; a few such clients would take them all."""

    def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        connection = environ.get("gunicorn.socket")
        if isinstance(connection, socket.socket):
            connection.settimeout(PATIENCE_S)
            environ["wsgi.input"] = _Input(environ["wsgi.input"])
        return app(environ, start_response)

    return wrapped


class _Input:
    """gunicorn's body. Chunks that are none are the sender's fault, like a connection that breaks: an OSError, which
    Werkzeug makes a 400 of."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._body.read(size))
        except ParseException as error:
            raise OSError(str(error)) from error


def drain_after(response: Response) -> None:
    """Once the refusal is sent, read on for a moment: closed at once, the connection would be reset, and the client,
    which is still sending, would see that instead of the answer."""
    environ = request.environ
    connection = environ.get("gunicorn.socket")
    unread = request.content_length is None or request.content_length > _BLOCK
    has_body = request.content_length or "chunked" in request.headers.get("Transfer-Encoding", "").lower()
    if isinstance(connection, socket.socket) and has_body and unread:
        response.call_on_close(lambda: _drain(environ["wsgi.input"], connection))


def _drain(body: Any, connection: socket.socket) -> None:
    end = time.monotonic() + LINGER_S
    try:
        while (left_s := end - time.monotonic()) > 0:
            connection.settimeout(left_s)
            if not body.read(_BLOCK):
                return
    except Exception as error:  # noqa: BLE001 - the answer is sent; whatever the rest of the body is, it goes
        log.debug("a refused body broke off: %s", error)
