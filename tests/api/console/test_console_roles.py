"""What a role may not do is not shown, and is refused."""

from collections.abc import Callable

import pytest

from api.services import Services
from farm.jobs.roles import Role
from tests.api.api_parts import Caller, Hand
from tests.api.console.console_parts import Browser, found

#: who may, how, where, with what
ACTS = (
    (Role.MEMBER, "GET", "/activity", {}),
    (Role.ADMIN, "GET", "/studio", {}),
    (Role.ADMIN, "POST", "/studio/keys", {"role": "member", "name": "n"}),
    (Role.ADMIN, "POST", "/studio/keys/nothing/revoke", {}),
    (Role.ADMIN, "POST", "/studio/limits", {"max_open": "7", "external_day_usd": ""}),
    (Role.ADMIN, "POST", "/studio/webhook-secret", {}),
    (Role.OPERATOR, "GET", "/farm/workers", {}),
    (Role.OPERATOR, "GET", "/farm/log", {}),
    (Role.OPERATOR, "POST", "/farm/pause", {"kind": "pool", "name": "default", "why": "w"}),
    (Role.OPERATOR, "POST", "/farm/purchases/never_arrived", {"purchase": "none", "why": "w"}),
)


@pytest.mark.parametrize("role", Role)
def test_every_act_of_the_console_is_for_its_role(
    caller: Callable[..., Caller], browser: Callable[[Caller], Browser], hand: Hand, role: Role
) -> None:
    here = browser(caller("alice", role=role))
    page = here.get("/jobs").text
    assert f"<span>{role.capitalize()} · key" in page
    for needs, method, path, form in ACTS:
        answer = here.get(path) if method == "GET" else here.post(path, form)
        assert (answer.status_code == 403) is not role.covers(needs), (path, answer.status_code)
        assert answer.status_code < 500
        if method == "GET":
            assert (f'href="/console{path}"' in page) is role.covers(needs), path


def test_an_admin_makes_a_key_that_is_shown_once(
    caller: Callable[..., Caller], browser: Callable[[Caller], Browser], parts: Services
) -> None:
    here = browser(caller("alice", role="admin"))
    key = found(r"<code>(wf_live_[^<…]+)</code>", here.post("/studio/keys", {"role": "member", "name": "<b>"}).text)
    assert parts.tenants.api_keys.authenticate(key) is not None
    page = here.get("/studio").text
    assert key not in page
    assert "&lt;b&gt;" in page
    assert here.post("/studio/keys", {"role": "operator"}).status_code == 403
    other = browser(caller("bob", role="admin"))
    key_id = parts.tenants.api_keys.of("alice")[-1].id
    assert other.post(f"/studio/keys/{key_id}/revoke").status_code == 404
    assert here.post(f"/studio/keys/{key_id}/revoke").status_code == 303
    assert parts.tenants.api_keys.authenticate(key) is None


def test_limits_are_lowered_and_left_empty_for_what_is_granted(
    caller: Callable[..., Caller], browser: Callable[[Caller], Browser], parts: Services
) -> None:
    here = browser(caller("alice", role="admin", max_open=50))
    assert here.post("/studio/limits", {"max_open": "20"}).status_code == 303
    assert 'value="20" placeholder="50"' in here.get("/studio").text
    parts.tenants.set("alice", rate_per_minute=600)
    assert 'placeholder="600"' in here.get("/studio").text
    assert here.post("/studio/limits", {"max_open": "51"}).status_code == 403
    assert here.post("/studio/limits", {"max_open": "many"}).status_code == 422
    assert here.post("/studio/limits", {"max_open": ""}).status_code == 303
    assert parts.tenants.own_limits.of("alice")[0].max_open == 50
