"""Errors as pages; to our own scripts, which ask for JSON, as the farm's own problems."""

from http import HTTPStatus
from urllib.parse import quote

from flask import has_request_context, render_template, request, url_for

from api import problems
from api.console.blueprint import is_ours
from farm.jobs.errors import RequestError, Unauthorized, Unavailable
from farm.wire.error_table import retry_headers
from farm.wire.report import Reply


def render_error(error: Exception) -> Reply:
    """A page that says what is wrong; who is not signed in is shown the door."""
    if not has_request_context() or "application/json" in request.headers.get("Accept", ""):
        return problems.render_error(error)
    if isinstance(error, Unauthorized):
        asked = request.full_path.rstrip("?") if request.method == "GET" else ""
        door = url_for("console.sign_in")
        return Reply(303, "", {"Location": f"{door}?next={quote(asked, safe='')}" if is_ours(asked) else door})
    status = 500
    if isinstance(error, RequestError):
        status = error.http_status
    elif isinstance(error, Unavailable):
        status = 503
    words = getattr(error, "detail", str(error))
    page = render_template("console/error.html", status=status, title=HTTPStatus(status).phrase, words=words)
    return Reply(status, page, {"Content-Type": "text/html; charset=utf-8", **retry_headers(error)})
