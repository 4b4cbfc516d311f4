"""A gateway whose Redis or object store is away: it starts, says which part is missing, and takes nothing in."""

import base64
import re
import time
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis

from api.app import create_app
from farm.config import RedisSettings, S3Settings, Settings
from farm.embedded.ports import free_port
from farm.tenants.api_keys import new_key
from tests.api.api_parts import Caller, Hand, picture


@pytest.fixture
def alone(s3_server: S3Settings, settings: Settings) -> FlaskClient:
    """A gateway without Redis."""
    nowhere = f"redis://127.0.0.1:{free_port()}"
    redis = RedisSettings(ledger_url=f"{nowhere}/0", broker_url=f"{nowhere}/1")
    return create_app(settings.model_copy(update={"redis": redis})).test_client()


def test_without_redis_every_answer_is_for_now(alone: FlaskClient) -> None:
    headers = {"X-API-Key": new_key()}
    for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("GET", "/v1/models"), ("GET", "/v1/events")):
        answer = alone.open(path, method=method, headers=headers, json={"prompt": "p"} if method == "POST" else None)
        assert (answer.status_code, answer.json["type"]) == (503, "urn:wanfarm:problem:unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    answer = alone.post("/generate", headers=headers, json={"prompt": "p"})
    assert (answer.status_code, list(answer.json)) == (503, ["detail"])
    assert alone.get("/health").json == {"status": "ok", "model_loaded": False, "current_job": None}


def test_health_says_which_part_is_missing(
    alone: FlaskClient, app: Flask, settings: Settings, caller: Callable[..., Caller]
) -> None:
    assert alone.get("/v1/health/live").status_code == 200
    answer = alone.get("/v1/health/ready")
    assert (answer.status_code, answer.json["parts"]) == (
        503,
        {"redis": "does not answer", "storage": "ok", "workers": "unknown", "reaper": "unknown"},
    )
    assert alone.get("/v1/health").status_code == 200

    idle = app.test_client().get("/v1/health/ready")
    # GPUs that restart take no gateway out of service
    assert (idle.status_code, idle.json["status"]) == (200, "accepting")
    assert idle.json["parts"]["workers"] == "none is alive"

    away = S3Settings(endpoint=f"127.0.0.1:{free_port()}")
    lost = create_app(settings.model_copy(update={"s3": away})).test_client().get("/v1/health/ready")
    assert (lost.status_code, lost.json["parts"]["storage"]) == (503, "does not answer")


def test_with_everything_there_it_is_ready(app: Flask, hand: Hand) -> None:
    answer = app.test_client().get("/v1/health/ready")
    assert (answer.status_code, answer.json["status"]) == (200, "ok")


def test_a_farm_that_nobody_reaps_takes_jobs_and_says_so(app: Flask, hand: Hand, redis: Redis) -> None:
    client = app.test_client()
    redis.decrby("wf:reaped", 93_000)
    answer = client.get("/v1/health/ready")
    assert (answer.status_code, answer.json["status"]) == (200, "accepting")
    told = re.fullmatch(r"nobody has reaped for (\d+) s", answer.json["parts"]["reaper"])
    # a busy machine asks later
    assert told is not None
    assert 93 <= int(told[1]) < 200
    redis.delete("wf:reaped")
    time.sleep(0.6)  # the parts are not asked more often
    assert client.get("/v1/health/ready").json["parts"]["reaper"] == "nobody has reaped yet"


def test_without_a_store_a_picture_cannot_be_taken_but_words_can(settings: Settings, alice: Caller) -> None:
    away = S3Settings(endpoint=f"127.0.0.1:{free_port()}")
    client = create_app(settings.model_copy(update={"s3": away})).test_client()
    headers = {"X-API-Key": alice.key}
    words = client.post("/v1/jobs", json={"prompt": "p"}, headers=headers)
    assert words.status_code == 201

    text = base64.b64encode(picture()).decode()
    refused = client.post("/v1/jobs", json={"prompt": "p", "image": {"base64": text}}, headers=headers)
    assert (refused.status_code, refused.json["title"]) == (503, "Service Unavailable")
    assert len(alice.get("/v1/jobs").json["data"]) == 1
