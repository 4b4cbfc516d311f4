"""What a key opens, for how long, and what anybody may ask for free."""

import re
from collections.abc import Callable

import pytest
from flask import Flask

import api.own.events
import api.own.openapi
from api.services import Services
from farm.config import Settings
from farm.jobs.ids import JOB_ID
from farm.jobs.roles import Role
from farm.tenants import vault
from tests.api.api_parts import Caller


def test_a_revoked_keys_stream_ends(settings: Settings, redis: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from api.app import create_app

    monkeypatch.setattr(api.own.events, "LOOK_MS", 10)
    app = create_app(settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"key_cache_s": 0.1})}))
    parts: Services = app.extensions["wanfarm"]
    parts.tenants.create("alice")
    key, text = parts.tenants.api_keys.create("alice", role=Role.MEMBER)
    answer = Caller(app.test_client(), "alice", text).get("/v1/events")
    frames = answer.iter_encoded()
    assert b"event: ready" in next(frames)
    parts.tenants.api_keys.revoke(key.id)
    assert list(frames) == []
    parts.redis.close()


ADDRESSES = (
    ("GET", "/v1/jobs"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/events"),
    ("GET", "/jobs"),
    ("GET", "/v1/videos"),
    ("GET", "/api/v1/chat/credit"),
    ("GET", "/api/v1/apikeys/current-balance"),
    ("GET", "/api/v1/client/account/balance"),
    ("GET", "/v1/webhooks/secret"),
)


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
def test_a_key_that_must_sign_opens_nothing_unsigned(
    caller: Callable[..., Caller], parts: Services, method: str, path: str
) -> None:
    alice = caller("alice")
    who = parts.tenants.api_keys.authenticate(alice.key)
    assert who is not None
    headers = {"X-API-KEY": alice.key}
    open_now = alice.ask(method, path, headers=headers, json={} if method == "POST" else None)
    assert open_now.status_code != 401
    open_now.close()
    parts.secrets.set("alice", vault.signing(who.key_id), "s3cret")
    answer = alice.ask(method, path, headers=headers, json={} if method == "POST" else None)
    told = answer.json
    assert answer.status_code == 401 or told["code"] == 401, answer.text


def test_the_document_is_made_once(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    first = app.test_client().get("/v1/openapi.json")
    assert first.status_code == 200

    def never(_app: Flask) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr(api.own.openapi, "document", never)
    assert app.test_client().get("/v1/openapi.json").data == first.data


def test_the_document_states_the_forms_that_are_enforced(app: Flask, alice: Caller) -> None:
    document = app.test_client().get("/v1/openapi.json").json
    assert isinstance(document, dict)
    create = document["paths"]["/v1/jobs"]["post"]["parameters"]
    (key,) = [one["schema"]["pattern"] for one in create if one["name"] == "Idempotency-Key"]
    for text, fits in (("a", True), ("a" * 255, True), ("a" * 256, False), ("a\tb", False), ("ü", False)):
        assert bool(re.match(key, text)) is fits
        headers = {"Idempotency-Key": text}
        assert (alice.post("/v1/jobs", json={"prompt": text[:9]}, headers=headers).status_code != 422) is fits
    for path, one in document["paths"].items():
        for parameter in next(iter(one.values()))["parameters"]:
            if "{job_id}" in path and parameter["name"] == "job_id":
                assert parameter["schema"]["pattern"] == f"^{JOB_ID}$"
    events = document["paths"]["/v1/events"]["get"]["parameters"]
    assert all("pattern" in one["schema"] for one in events if one["name"] == "Last-Event-ID")
    upload = document["components"]["schemas"]["InputSource"]["properties"]["upload"]
    assert "pattern" in str(upload)
