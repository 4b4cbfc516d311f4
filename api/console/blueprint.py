"""What every page passes: a session, a token on whatever changes something, and the headers that keep others out."""

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, request, url_for

from api.auth import principal, speak_for
from api.console import words
from api.services import services
from farm.config import Settings
from farm.jobs.errors import Forbidden, NotFound, Unauthorized
from farm.jobs.roles import Role
from farm.tenants.sessions import ConsoleSession

console = Blueprint(
    "console",
    __name__,
    url_prefix="/console",
    template_folder="templates",
    static_folder="static",
    static_url_path="/static",
)
#: "/" itself
front = Blueprint("front", __name__)

COOKIE = "wanfarm_session"
THEME_COOKIE = "wanfarm_theme"
THEMES = ("light", "dark")
#: a form's field, and the header of a script, with the session's token
CSRF_FIELD, CSRF_HEADER = "csrf", "X-CSRF-Token"
#: our own script asks for the page's middle alone
PART_HEADER = "X-Part"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: what needs no session
_OPEN = frozenset({"console.static", "console.sign_in", "console.sign_in_with_key"})


@front.get("/")
def front_door() -> Response:
    """To the console, for whoever opens the farm's address in a browser."""
    return to(url_for("console.list_jobs"))


@console.before_request
def _guard() -> None:
    if not services().settings.console.enabled:
        raise NotFound("this farm has no console")
    if request.method not in _SAFE:
        _same_site()
    if request.endpoint in _OPEN:
        return
    sessions, keys = services().sessions, services().tenants.api_keys
    found = session_of_request()
    if found is None:
        raise Unauthorized("sign in first")
    holder = keys.holder(found.key_id)
    if holder is None:
        sessions.end(found.id)
        raise Unauthorized("the API key of this session was revoked")
    speak_for(holder, lambda: keys.holder(found.key_id) is not None and sessions.find(found.id) is not None)
    g.session = found
    if request.method not in _SAFE:
        given = request.headers.get(CSRF_HEADER) or request.form.get(CSRF_FIELD)
        if not found.sent_by_its_page(given):
            raise Forbidden("this page is too old, or another site sent it; reload it and try again")


def session_of_request() -> ConsoleSession | None:
    """The session that the browser's cookie names."""
    return services().sessions.find(request.cookies.get(COOKIE))


def _same_site() -> None:
    """The browser itself says who sends. Raises Forbidden for another site's page."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site not in (None, "same-origin", "none") or (origin is not None and urlsplit(origin).netloc != request.host):
        raise Forbidden("another site's page sent this")


@console.after_app_request
def _headers(response: Response) -> Response:
    # also where no address of ours was found
    if request.path.startswith("/console"):
        _protect(response)
    return response


def _protect(response: Response) -> None:
    """No script, style, picture or frame but our own and the store's."""
    store = _store_origin(services().settings)
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": f"'self' blob: {store}",
        "media-src": f"'self' blob: {store}",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    response.headers["Content-Security-Policy"] = "; ".join(f"{name} {value}" for name, value in policy.items())
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["X-Content-Type-Options"] = "nosniff"
    # a stranger's link must not learn which job it stood in; our own forms are told apart by the origin
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    if request.endpoint != "console.static":
        response.headers["Cache-Control"] = "no-store"


def _store_origin(settings: Settings) -> str:
    """Where the addresses of results lead."""
    s3 = settings.s3
    secure = s3.secure if s3.public_secure is None else s3.public_secure
    return f"{'https' if secure else 'http'}://{s3.public_endpoint or s3.endpoint}"


@console.app_context_processor
def _for_templates() -> dict[str, Any]:
    if request.blueprint != "console":
        return {}
    theme = request.cookies.get(THEME_COOKIE)
    session = g.get("session")
    holder = principal() if session is not None else None
    return {
        "words": words,
        "csrf": session.csrf if session is not None else "",
        "theme": theme if theme in THEMES else "",
        "holder": holder,
        "admin": holder is not None and holder.role.covers(Role.ADMIN),
        "operator": holder is not None and holder.role.covers(Role.OPERATOR),
        "here": _place_in_menu(),
        "layout": "console/part.html" if request.headers.get(PART_HEADER) else "console/layout.html",
    }


def _place_in_menu() -> str:
    """The page of the menu that the one shown belongs to."""
    page = (request.endpoint or "").removeprefix("console.")
    if page == "list_jobs" and "batch" in request.args:
        return "list_batches"
    return "list_jobs" if page in ("show_job", "compare") else page


def to(address: str) -> Response:
    """To another page, by GET."""
    return Response(status=303, headers={"Location": address})


def who() -> str:
    """The person at the browser, as logs name them."""
    return f"key {principal().key_id}"


def secure_cookies() -> bool:
    """Whether people reach this farm by https."""
    return request.is_secure or (services().settings.gateway.public_url or "").startswith("https://")


def back(default: str) -> Response:
    """To the page whose form was sent, which is one of ours, else to `default`."""
    wanted = request.form.get("back", "")
    return to(wanted if is_ours(wanted) else default)


def is_ours(address: str) -> bool:
    """Whether `address` is a path of the console and nothing that a browser could read as another host."""
    return address.startswith("/console/") and "\\" not in address and address.isprintable()


def switched_off() -> set[tuple[str, str]]:
    """(kind, name) of what an operator paused."""
    return {(kind.value, name) for kind, name in services().ledger.paused()}
