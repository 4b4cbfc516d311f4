"""What a page in a browser needs, and the name that every request has."""

import logging
import re
from collections.abc import Iterator

import pytest
from flask import Flask
from redis import Redis

from api.app import create_app
from api.problems import log
from api.request_ids import WithRequestId
from farm.config import Settings
from tests.api.api_parts import TINY, Caller, Hand

OURS, THEIRS = "https://app.example.com", "https://evil.example.com"
PATHS = (
    ("/v1/jobs", "POST"),
    ("/v1/videos", "POST"),
    ("/v1/jobs/x", "DELETE"),
    ("/api/v1/jobs/createTask", "POST"),
    ("/api/v1/client/job/CreateTask", "POST"),
    ("/v1/Run/wan-ai/wan2.2-i2v-a14b", "POST"),
    ("/api/v1/generateTask/wan-2-2-animate", "POST"),
    ("/generate", "POST"),
    ("/v1/uploads", "POST"),
)


@pytest.fixture
def app(settings: Settings, redis: Redis) -> Iterator[Flask]:
    gateway = settings.gateway.model_copy(update={"cors_origins": (OURS,)})
    made = create_app(settings.model_copy(update={"gateway": gateway}))
    yield made
    made.extensions["wanfarm"].redis.close()


@pytest.mark.parametrize(("path", "method"), PATHS)
def test_a_preflight_needs_no_key(app: Flask, path: str, method: str) -> None:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
    told = app.test_client().options(path, headers={"Origin": OURS, **asked})
    assert (told.status_code, told.data) == (204, b"")
    assert told.headers["Access-Control-Allow-Origin"] == OURS
    assert method in told.headers["Access-Control-Allow-Methods"].split(", ")
    assert told.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert "Access-Control-Allow-Credentials" not in told.headers
    foreign = app.test_client().options(path, headers={"Origin": THEIRS, **asked})
    assert foreign.status_code == 204
    assert not [name for name, _ in foreign.headers if name.startswith("Access-Control")]


def test_answers_and_refusals_may_be_read_by_pages_of_the_origin(alice: Caller) -> None:
    for path, status in (("/v1/jobs", 200), ("/v1/jobs/nonsense", 404), ("/v1/videos/video_1", 404), ("/nowhere", 404)):
        told = alice.get(path, headers={"Origin": OURS})
        assert (told.status_code, told.headers["Access-Control-Allow-Origin"]) == (status, OURS)
        assert "X-Request-Id" in told.headers["Access-Control-Expose-Headers"]
        assert "Origin" in told.headers["Vary"]
        assert "Access-Control-Allow-Origin" not in alice.get(path, headers={"Origin": THEIRS}).headers
    assert "Access-Control-Allow-Origin" not in alice.get("/v1/jobs").headers


def test_every_answer_has_a_request_id(alice: Caller, hand: Hand) -> None:
    ids = set()
    for path in ("/v1/jobs", "/v1/videos", "/nowhere", "/api/v1/nowhere", "/v1/Task/nowhere", "/health"):
        told = alice.get(path)
        ids.add(told.headers["X-Request-Id"])
    assert len(ids) == 6
    assert alice.get("/v1/jobs", headers={"X-Request-Id": "mine-1"}).headers["X-Request-Id"] == "mine-1"
    for bad in ("a b", "x" * 200, "<script>"):
        assert re.fullmatch(
            r"req_[0-9a-f]{24}", alice.get("/v1/jobs", headers={"X-Request-Id": bad}).headers["X-Request-Id"]
        )
    made = alice.post("/v1/videos", json={"model": TINY, "prompt": "x"}, headers={"X-Request-Id": "mine-2"})
    assert made.headers["X-Request-Id"] == "mine-2"


def test_what_is_logged_names_the_request(app: Flask, alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = told.append  # type: ignore[method-assign]
    handler.addFilter(WithRequestId())
    log.addHandler(handler)

    def breaks() -> None:
        raise RuntimeError("ours")

    monkeypatch.setitem(app.view_functions, "own.list_jobs", breaks)
    try:
        assert alice.get("/v1/jobs", headers={"X-Request-Id": "mine-3"}).status_code == 500
    finally:
        log.removeHandler(handler)
    assert [record.__dict__["request_id"] for record in told] == ["mine-3"]


@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/videos", "/api/v1/jobs/createTask", "/api/v1/client/job/CreateTask", "/v1/Task/List",
             "/api/v1/generateTask/x", "/generate", "/v1/models"],
)  # fmt: skip
def test_405_stays_405_in_every_dialect(alice: Caller, path: str) -> None:
    told = alice.ask("PUT", path)
    assert (told.status_code, bool(told.headers["Allow"])) == (405, True), told.text
    assert told.is_json


@pytest.mark.parametrize(
    "path", ["/v1/nowhere", "/v1/videos/a/b/c", "/api/v1/nowhere", "/api/v1/client/nowhere", "/v1/Task/Nowhere", "/x",
             "/api/v1/statusTask", "/status"],
)  # fmt: skip
def test_404_stays_404_in_every_dialect(alice: Caller, path: str) -> None:
    told = alice.post(path, json={})
    assert told.status_code == 404, told.text
    assert told.is_json


def test_without_configured_origins_nothing_is_said(settings: Settings, redis: Redis) -> None:
    app = create_app(settings)
    told = app.test_client().options("/v1/jobs", headers={"Origin": OURS})
    assert (told.status_code, "Access-Control-Allow-Origin" in told.headers) == (204, False)
    app.extensions["wanfarm"].redis.close()
