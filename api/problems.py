"""Maps every exception of a request to an error of the farm, and renders it for the farm's own API (RFC 9457)."""

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus

from werkzeug.exceptions import HTTPException, MethodNotAllowed

from farm.batches.faults import BadManifest
from farm.jobs.errors import FarmError, NotFound, RequestError, TooLarge, Unauthorized, Unavailable
from farm.wire.error_table import retry_headers
from farm.wire.own import InvalidBody
from farm.wire.own_views import FieldFault, ProblemView
from farm.wire.report import Reply

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
#: characters of an error's sentence, and of the field that it names
MAX_ECHO, MAX_FIELD = 1000, 200
#: a problem's `type` is this and the error's slug
TYPE = "urn:wanfarm:problem:"


class HttpRefusal(RequestError):
    """A refusal by HTTP's own rules: the status and what goes with it."""

    def __init__(self, status: int, slug: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.http_status = status
        self.slug = slug
        self.headers = dict(headers or {})


class NoAddress(NotFound):
    """No dialect has such an address; of what a dialect does not find, NotFound tells."""


class Bug(Exception):
    """A bug of the farm, and no FarmError: every dialect answers 500. `id` finds it in the log."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(4)
        super().__init__(f"an error inside the farm, logged as {self.id}")


def farm_error(error: Exception) -> FarmError | Bug:
    """Every exception that a request can end with, in the farm's terms. The only place that knows Werkzeug's."""
    if isinstance(error, RequestError):
        _shorten(error)
    if isinstance(error, FarmError):
        return error
    if isinstance(error, HTTPException) and error.code is not None and 400 <= error.code < 500:
        return _refusal(error, HTTPStatus(error.code))
    bug = Bug()
    log.error("%s", bug, exc_info=error)
    return bug


def _shorten(error: RequestError) -> None:
    """Shorten what is quoted of a client's own text."""
    error.detail = error.detail[:MAX_ECHO]
    if error.field is not None:
        error.field = error.field[:MAX_FIELD]
    if isinstance(error, InvalidBody):
        error.errors = tuple((field[:MAX_FIELD], detail[:MAX_ECHO]) for field, detail in error.errors)


def _refusal(error: HTTPException, status: HTTPStatus) -> FarmError:
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TooLarge("the body is larger than this farm takes; send pictures by POST /v1/uploads")
    if status == HTTPStatus.NOT_FOUND:
        return NoAddress("no such address")
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"}))
        return HttpRefusal(405, "method-not-allowed", f"this address takes {allowed}", {"Allow": allowed})
    return HttpRefusal(status, status.phrase.lower().replace(" ", "-"), error.description or status.phrase)


def render_error(error: Exception) -> Reply:
    """The farm's own API: a problem with a stable type."""
    status, slug = 500, "internal"
    if isinstance(error, RequestError):
        status, slug = error.http_status, error.slug
    elif isinstance(error, Unavailable):
        status, slug = 503, getattr(error, "slug", "unavailable")
    problem = ProblemView(
        type=TYPE + slug,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=getattr(error, "detail", str(error)),
        field=getattr(error, "field", None),
        errors=_errors(error),
        error_count=error.count if isinstance(error, BadManifest) else None,
    )
    headers = {"Content-Type": PROBLEM_JSON, **retry_headers(error), **getattr(error, "headers", {})}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="wanfarm"'
    return Reply(status, problem.model_dump_json(exclude_none=True), headers)


def _errors(error: Exception) -> list[FieldFault] | None:
    if isinstance(error, BadManifest):
        return [FieldFault(line=one.line, field=one.field, detail=one.detail) for one in error.faults]
    if not isinstance(error, InvalidBody) or len(error.errors) == 1:
        return None
    return [FieldFault(field=field or None, detail=detail) for field, detail in error.errors]
