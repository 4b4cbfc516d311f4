"""What a dialect's blueprint module hands to the app, and how a codec's Reply becomes a response.

A dialect is one module: a blueprint, a `before_request` that takes the key from where this dialect carries it
(api.auth), and one DIALECT at its end. Its views raise farm.jobs.errors and return Replies; its codec in farm/wire
says how both look. Nothing else of the app knows it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response
from pydantic import BaseModel
from pydantic_core import to_json
from werkzeug.datastructures import Headers

from farm.wire.report import Reply

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

JSON = "application/json"


@dataclass(frozen=True)
class Dialect:
    """`paths`: beginnings of the dialect's addresses, for errors before a view was found (404, 405, 413).
    `render_error`: a farm.jobs.errors.FarmError as this dialect's answer."""

    blueprint: Blueprint
    paths: tuple[str, ...]
    render_error: Callable[[Exception], Reply]


def dialect_of(path: str, dialects: Sequence[Dialect]) -> Dialect:
    """The dialect with the longest beginning that fits; the first one speaks for every other address."""
    fitting = [(len(start), d) for d in dialects for start in d.paths if path.startswith(start)]
    return max(fitting, key=lambda one: one[0])[1] if fitting else dialects[0]


class _Finished(Response):
    """An answer with a body, whose headers need no more work: its Location is ASCII and its length is known."""

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:
        """The headers as they are."""
        return self.headers


def answer(reply: Reply) -> Response:
    """JSON, compact, unless the reply's own Content-Type says otherwise."""
    headers = {"Content-Type": JSON, **reply.headers}
    body = reply.body if isinstance(reply.body, (bytes, str)) else dump(reply.body)
    return _Finished(body, reply.status, headers)


def dump(value: Any) -> bytes:
    """Any JSON value, dataclass or pydantic model as compact JSON."""
    return value.model_dump_json().encode() if isinstance(value, BaseModel) else to_json(value)
