"""Browsers: pages of the origins that the operator names may ask this farm. Keys travel in headers, never in cookies,
so a page can do what its user gave it a key for, and nothing else."""

import re

from flask import Flask, Response, current_app, request

from api.services import services

#: headers that a page may read besides those that every page may
_EXPOSED = (
    "Location, Retry-After, X-Request-Id, Idempotent-Replayed, Content-Range, Content-Disposition, "
    "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"
)
_HEADERS = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1000}")
#: seconds that a browser may remember the answer to a preflight
_REMEMBERED_S = 600


def answer_browsers(app: Flask) -> None:
    """Before anything asks for a key: a browser sends none with its preflight."""

    @app.before_request
    def _preflight() -> Response | None:
        if request.method != "OPTIONS" or request.routing_exception is not None:
            return None
        response = current_app.make_default_options_response()
        response.status_code = 204
        if _is_allowed(request.headers.get("Origin")):
            response.headers["Access-Control-Allow-Methods"] = response.headers["Allow"]
            wanted = request.headers.get("Access-Control-Request-Headers", "")
            if _HEADERS.fullmatch(wanted):
                response.headers["Access-Control-Allow-Headers"] = wanted
            response.headers["Access-Control-Max-Age"] = str(_REMEMBERED_S)
        return response

    @app.after_request
    def _allow(response: Response) -> Response:
        origin = request.headers.get("Origin")
        if origin is None or not services().settings.gateway.cors_origins:
            return response
        response.vary.add("Origin")
        if _is_allowed(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        return response


def _is_allowed(origin: str | None) -> bool:
    allowed = services().settings.gateway.cors_origins
    return origin is not None and (origin in allowed or "*" in allowed)
