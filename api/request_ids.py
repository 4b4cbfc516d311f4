"""A name for every request, in its answer and in each line that is logged about it."""

import logging
import re
import secrets
from contextvars import ContextVar

from flask import Flask, Response, request

HEADER = "X-Request-Id"
FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s]: %(message)s%(traced)s"
#: a client may name its request itself
_FIT = re.compile(r"[A-Za-z0-9._:-]{1,128}")
#: of the request that this context serves
_current: ContextVar[str] = ContextVar("request_id", default="-")


def new_id() -> str:
    """A name that no other request has."""
    return f"req_{secrets.token_hex(12)}"


def name_requests(app: Flask) -> None:
    """Take the client's name for a request, or give it one, and answer with it."""

    @app.before_request
    def _begin() -> None:
        given = request.headers.get(HEADER, "")
        _current.set(given if _FIT.fullmatch(given) else new_id())

    @app.after_request
    def _tell(response: Response) -> Response:
        response.headers[HEADER] = _current.get()
        return response


class WithRequestId(logging.Filter):
    """Gives every record its `request_id`; "-" outside of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        record.request_id = _current.get()
        return True
