"""Who gets into the console, and whom it keeps out: sessions, tokens, frames, foreign ids, strangers' text."""

from collections.abc import Callable

import pytest
from flask import Flask

from api.services import Services
from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.worker_status import WorkerState, WorkerStatus
from farm.ledger.job_lines import JobLine
from farm.tenants.tenants import Tenants
from farm.webhooks.deliveries import Deliveries
from tests.api.api_parts import TINY, Caller, Hand
from tests.api.console.console_parts import Browser, found

#: closes whatever it stands in, in each of the places where text of a tenant can stand
EVIL = """"'></textarea></title><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}javascript:alert(1)"""
PAGES = (
    "/jobs",
    "/jobs?view=tiles",
    "/batches",
    "/submit",
    "/usage",
    "/activity",
    "/studio",
    "/farm/workers",
    "/farm/queue",
    "/farm/lanes",
    "/farm/tenants",
    "/farm/providers",
    "/farm/log",
)


@pytest.fixture
def operator(caller: Callable[..., Caller], browser: Callable[[Caller], Browser], hand: Hand) -> Browser:
    return browser(caller("house", role="operator"))


def test_nothing_is_shown_before_one_signs_in(app: Flask) -> None:
    stranger = Browser(app.test_client(), "")
    assert app.test_client().get("/").headers["Location"] == "/console/jobs"
    for path in PAGES:
        told = stranger.get(path)
        assert (told.status_code, told.headers["Location"][:21]) == (303, "/console/sign-in?next"), path
    assert stranger.post("/acts/cancel").status_code == 303
    assert stranger.get("/live", headers={"Accept": "application/json"}).status_code == 401
    assert stranger.sign_in("wf_live_nonsense").status_code == 401
    assert stranger.session is None


def test_a_key_opens_a_session_that_ends_with_it(
    alice: Caller, browser: Callable[[Caller], Browser], parts: Services, caller: Callable[..., Caller]
) -> None:
    other = caller("alice")
    here, there = browser(alice), browser(other)
    assert here.get("/jobs").status_code == there.get("/jobs").status_code == 200
    # the API takes no cookie, whoever sends it
    assert here.client.get("/v1/jobs").status_code == 401
    key_id = next(key.id for key in parts.tenants.api_keys.of("alice") if alice.key.startswith(key.shown))
    parts.tenants.api_keys.revoke(key_id)
    assert here.get("/jobs").status_code == 303
    assert there.get("/jobs").status_code == 200


def test_the_cookie_is_no_scripts_business_and_no_other_sites(alice: Caller, app: Flask) -> None:
    fresh = Browser(app.test_client(), "alice")
    cookies = [line for line in fresh.sign_in(alice.key).headers.getlist("Set-Cookie") if "wanfarm_session" in line]
    assert all(word in cookies[0] for word in ("HttpOnly", "SameSite=Strict", "Path=/console"))
    assert alice.key not in cookies[0]
    secure = Browser(app.test_client(), "alice")
    door = found(r'name="door" value="([^"]+)"', secure.get("/sign-in", base_url="https://farm.example").text)
    told = secure.client.post(
        "/console/sign-in", base_url="https://farm.example", data={"door": door, "key": alice.key}
    )
    assert all("Secure" in line for line in told.headers.getlist("Set-Cookie") if "Max-Age=0" not in line)


def test_an_id_that_somebody_else_chose_is_never_signed_in(alice: Caller, app: Flask, parts: Services) -> None:
    """Session fixation: neither an invented id nor one of the attacker's own session."""
    chosen = "a" * 43
    planted = parts.sessions.begin(parts.tenants.api_keys.of("alice")[0].id).id
    for value in (chosen, planted):
        victim = Browser(app.test_client(), "alice")
        victim.client.set_cookie("wanfarm_session", value, path="/console")
        assert victim.sign_in(alice.key).status_code == 303
        assert victim.session not in (None, value)
        assert parts.sessions.find(value) is None


def test_sign_out_ends_the_session_wherever_its_id_is_known(
    alice: Caller, browser: Callable[[Caller], Browser], app: Flask
) -> None:
    here = browser(alice)
    kept = here.session
    assert kept is not None
    assert here.post("/sign-out").status_code == 303
    thief = app.test_client()
    thief.set_cookie("wanfarm_session", kept, path="/console")
    assert thief.get("/console/jobs").status_code == 303


def test_what_another_site_sends_changes_nothing(
    alice: Caller, browser: Callable[[Caller], Browser], app: Flask
) -> None:
    here, job = browser(alice), alice.submit()
    cancel = f"/console/jobs/{job['id']}/cancel"
    for form, headers in (
        ({}, {}),
        ({"csrf": "x" * 43}, {}),
        ({"csrf": here.csrf}, {"Sec-Fetch-Site": "cross-site"}),
        ({"csrf": here.csrf}, {"Origin": "https://evil.example"}),
        ({"csrf": here.csrf}, {"Origin": "null"}),
    ):
        assert here.client.post(cancel, data=form, headers=headers).status_code == 403
    assert here.client.get(cancel).status_code == 405
    assert here.client.post("/console/sign-out").status_code == 403
    assert alice.get(f"/v1/jobs/{job['id']}").json["state"] == "queued"
    # nor does it sign a browser in to a session of its own
    assert app.test_client().post("/console/sign-in", data={"key": alice.key}).status_code == 403
    assert here.post(f"/jobs/{job['id']}/cancel", headers={"Origin": "http://localhost"}).status_code == 303


def test_no_page_can_be_framed_or_run_what_is_not_ours(operator: Browser) -> None:
    for path in (*PAGES, "/sign-in", "/nothing-here", "/static/app.js"):
        headers = operator.get(path).headers
        rules = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'", path
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == rules["form-action"] == "'self'"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
    page = operator.get("/jobs").text
    assert "style=" not in page
    assert "<script>" not in page


def test_next_leads_nowhere_else(alice: Caller, app: Flask) -> None:
    for wanted, reached in (
        ("/console/usage", "/console/usage"),
        ("https://evil.example", "/console/jobs"),
        ("//evil.example", "/console/jobs"),
        ("/console/\\evil.example", "/console/jobs"),
        ("/console/\r\nSet-Cookie: a=b", "/console/jobs"),
    ):
        assert Browser(app.test_client(), "alice").sign_in(alice.key, next=wanted).headers["Location"] == reached


def test_a_foreign_job_is_not_there(alice: Caller, bob: Caller, browser: Callable[[Caller], Browser]) -> None:
    job, here = alice.submit(label="hers"), browser(bob)
    mine = bob.submit()
    for path in ("", "/video.mp4", "/poster.jpg", "/recipe.json"):
        assert here.get(f"/jobs/{job['id']}{path}").status_code == 404
    for act in ("cancel", "pause", "resume", "approve", "retry"):
        assert here.post(f"/jobs/{job['id']}/{act}").status_code == 404
        assert here.post(f"/acts/{act}", {"id": [job["id"], mine["id"]]}).status_code == 404
    assert here.get(f"/compare?id={job['id']}&id={mine['id']}").status_code == 404
    assert job["id"] not in here.get(f"/jobs/some?id={job['id']}&id={mine['id']}").text
    assert job["id"] not in here.get("/jobs?label=hers").text
    assert alice.get(f"/v1/jobs/{job['id']}").json["state"] == "queued"


def test_pages_of_operators_are_for_operators(alice: Caller, browser: Callable[[Caller], Browser]) -> None:
    here = browser(alice)
    for path in (path for path in PAGES if path.startswith("/farm")):
        assert here.get(path).status_code == 403, path
    acts = ("pause", "resume", "workers/forgive", "jobs/requeue", "jobs/urgent", "purchases/arrived", "purchases/cost")
    for path in (f"/farm/{act}" for act in acts):
        assert here.post(path, {"kind": "tenant", "name": "alice", "why": "w", "job": "x"}).status_code == 403
    assert "/console/farm" not in here.get("/jobs").text


def test_what_a_tenant_wrote_is_text(
    alice: Caller, browser: Callable[[Caller], Browser], operator: Browser, hand: Hand, parts: Services
) -> None:
    here = browser(alice)
    job = alice.submit(EVIL, negative_prompt=EVIL, name=EVIL, label=EVIL[:100], metadata={"<b>": EVIL})
    other = alice.submit("plain")
    Tenants(parts.redis, parts.settings).set("alice", name=EVIL)
    parts.activity.note("alice", EVIL, EVIL, EVIL, 1)
    # what came from elsewhere: a decoder's words on a file, a worker's on its device, a webhook's answer
    claim = hand.claim()
    parts.ledger.keep_lines(claim.job.id, claim.attempt, [JobLine(claim.job.created_ms, EVIL, bad=True)])
    broken = WorkerStatus(device=EVIL, state=WorkerState.BROKEN, reason=EVIL, models=(EVIL,), lane=EVIL)
    parts.ledger.worker_seen(EVIL, "default", broken, ttl_s=600)
    deliveries = Deliveries(parts.redis, parts.settings)
    deliveries.schedule(
        "msg", job=job["id"], tenant="alice", url="https://a.example/", dialect="own", receiver="alice|a"
    )
    [delivery] = deliveries.take(1, suspects=1, lease_s=60)
    deliveries.bury(delivery.id, status=500, error=EVIL)
    parts.ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, EVIL))
    pages = [
        *(here.get(path) for path in ("/jobs", "/jobs?view=tiles", "/batches", "/activity", f"/jobs/{job['id']}")),
        here.get(f"/compare?id={job['id']}&id={other['id']}"),
        here.get(f"/jobs/some?id={job['id']}"),
        here.get("/jobs", query_string={"label": EVIL[:100]}),
        here.get("/submit", query_string=dict.fromkeys(("prompt", "name", "label", "width"), EVIL)),
        here.post("/submit", dict.fromkeys(("prompt", "name", "model", "seed"), EVIL)),
        here.get("/sign-in", query_string={"next": EVIL}),
        here.get(f"/{EVIL}"),
        operator.get("/farm/tenants"),
        operator.get("/farm/workers"),
        operator.get("/farm/lanes"),
        operator.post("/farm/pause", {"kind": "tenant", "name": EVIL.replace(" ", ""), "why": EVIL}),
        operator.get("/farm/log"),
    ]
    shown = 0
    for page in pages:
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        assert 'href="javascript:' not in page.text
        shown += "&lt;script&gt;" in page.text
    assert shown >= 12


def test_a_name_of_a_lora_is_text(alice: Caller, browser: Callable[[Caller], Browser], parts: Services) -> None:
    """Names of LoRAs are checked when they are made; the page does not rely on it."""
    from dataclasses import replace

    from farm.loras.lora import StoredLora

    page = browser(alice)
    evil = StoredLora("lora_1", EVIL, "ab" * 32, 1, "u", 4, 8, 0, (TINY,), 0)
    app = page.client.application
    app.extensions["wanfarm"] = replace(parts, loras=_Loras([evil]))  # type: ignore[arg-type]
    text = page.get("/submit").text
    assert "&lt;script&gt;" in text
    assert "<script>alert" not in text


class _Loras:
    def __init__(self, loras: list[object]) -> None:
        self._loras = loras

    def all(self, _tenant: str) -> list[object]:
        return self._loras
