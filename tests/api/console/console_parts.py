"""A browser without a screen: a client with cookies that sends what our forms send."""

import re
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse


@dataclass
class Browser:
    """Signed in with a key, or not yet."""

    client: FlaskClient
    tenant: str
    csrf: str = ""

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(f"/console{path}", **more)

    def post(self, path: str, form: dict[str, Any] | None = None, **more: Any) -> TestResponse:
        return self.client.post(f"/console{path}", data={"csrf": self.csrf, **(form or {})}, **more)

    def sign_in(self, key: str, **more: str) -> TestResponse:
        door = found(r'name="door" value="([^"]+)"', self.get("/sign-in").text)
        answer = self.post("/sign-in", {"door": door, "key": key, **more})
        if answer.status_code == 303:
            self.csrf = found(r'name="csrf" content="([^"]+)"', self.get("/jobs").text)
        return answer

    @property
    def session(self) -> str | None:
        cookie = self.client.get_cookie("wanfarm_session", path="/console")
        return None if cookie is None else cookie.value


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text[:2000]
    return match[1]
