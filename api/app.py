"""The gateway: `gunicorn "api.app:create_app()"`. It puts the dialects, the limits and the counting together."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Flask, Response, request

from api import apixo, console, crun, kie, openai, openai_batches, own, selfhosted, wiro
from api.console.blueprint import front
from api.cors import answer_browsers
from api.dialect import answer, dialect_of
from api.limits import tell_rate
from api.metrics import count_requests
from api.problems import HttpRefusal, NoAddress, farm_error
from api.request_ids import name_requests
from api.services import EXTENSION, make_services
from farm.config import Settings, load
from farm.wire.report import Reply

#: the first one speaks for addresses that are nobody's
DIALECTS = (
    own.DIALECT,
    selfhosted.DIALECT,
    kie.DIALECT,
    apixo.DIALECT,
    crun.DIALECT,
    wiro.DIALECT,
    openai.DIALECT,
    openai_batches.DIALECT,
    console.DIALECT,
)


class _Gateway(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No view or hook is a coroutine, which Flask would ask of each at every request."""
        return func


def create_app(settings: Settings | None = None) -> Flask:
    """`settings`: by default those of this process (farm.config.load)."""
    settings = settings or load()
    app = _Gateway("wanfarm", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.gateway.max_body
    # a redirect to the same address with another slash helps no API client
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.extensions[EXTENSION] = make_services(settings)
    count_requests(app)
    name_requests(app)
    answer_browsers(app)
    for dialect in DIALECTS:
        app.register_blueprint(dialect.blueprint)
    app.register_blueprint(own.keyless)
    app.register_blueprint(front)
    tell_rate(app)
    app.register_error_handler(Exception, _failed)
    return app


def refusal(path: str, error: Exception) -> Reply:
    """The one place where a request ends badly: in the dialect of the address that was asked."""
    found = farm_error(error)
    reply = dialect_of(path, DIALECTS).render_error(found)
    if isinstance(found, HttpRefusal | NoAddress):
        # HTTP's own words mean the same in every dialect, also in those that answer 200 to everything
        headers = {**reply.headers, **getattr(found, "headers", {})}
        reply = replace(reply, status=found.http_status, headers=headers)
    return reply


def _failed(error: Exception) -> Response:
    return answer(refusal(request.path, error))
