"""The door: sign in with an API key, sign out, light or dark."""

import hashlib
import hmac
import secrets
from datetime import timedelta

from flask import Response, make_response, render_template, request, url_for

from api.auth import authenticate
from api.console.blueprint import COOKIE, THEME_COOKIE, THEMES, back, console, is_ours, secure_cookies, to
from api.server.marks import TENANT
from api.services import services
from farm.jobs.errors import Forbidden, Unauthorized

#: given with the form of the door; what it sends back must fit, so that nobody else can sign a browser in
_DOOR_COOKIE = "wanfarm_door"


@console.get("/sign-in")
def sign_in() -> Response:
    """The form."""
    return _form(200)


@console.post("/sign-in")
def sign_in_with_key() -> Response:
    """A new session, whatever id the browser came with; that one ends."""
    door = request.cookies.get(_DOOR_COOKIE, "")
    if not door or not hmac.compare_digest(_fitting(door).encode(), request.form.get("door", "").encode()):
        raise Forbidden("this page is too old; reload it and try again")
    try:
        holder = authenticate(request.form.get("key", "").strip() or None)
    except Unauthorized as error:
        return _form(401, error.detail)
    # the next request that comes without a key is not this tenant's
    request.environ.pop(TENANT, None)
    sessions = services().sessions
    if old := request.cookies.get(COOKIE):
        sessions.end(old)
    session = sessions.begin(holder.key_id)
    wanted = request.form.get("next", "")
    response = to(wanted if is_ours(wanted) else url_for("console.list_jobs"))
    _set_cookie(response, COOKIE, session.id)
    response.delete_cookie(_DOOR_COOKIE, path="/console/sign-in")
    return response


@console.post("/sign-out")
def sign_out() -> Response:
    """The session is over, for every tab."""
    services().sessions.end(request.cookies.get(COOKIE, ""))
    response = to(url_for("console.sign_in"))
    response.delete_cookie(COOKIE, path="/console")
    return response


@console.post("/theme")
def set_theme() -> Response:
    """Light, dark, or as the system says."""
    response = back(url_for("console.list_jobs"))
    theme = request.form.get("theme")
    if theme in THEMES:
        _set_cookie(response, THEME_COOKIE, theme, timedelta(days=400))
    else:
        response.delete_cookie(THEME_COOKIE, path="/console")
    return response


def _form(status: int, wrong: str | None = None) -> Response:
    door = secrets.token_urlsafe(24)
    wanted = request.values.get("next", "")
    page = render_template(
        "console/sign_in.html", door=_fitting(door), wrong=wrong, next=wanted if is_ours(wanted) else ""
    )
    response = make_response(page, status)
    _set_cookie(response, _DOOR_COOKIE, door, path="/console/sign-in")
    return response


def _fitting(door: str) -> str:
    return hashlib.sha256(f"door {door}".encode()).hexdigest()


def _set_cookie(
    response: Response, name: str, value: str, life: timedelta | None = None, path: str = "/console"
) -> None:
    response.set_cookie(name, value, max_age=life, path=path, secure=secure_cookies(), httponly=True, samesite="Strict")
