"""crun's discovery, estimates and uploads, as its own command line goes about them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dialect_parts import CLIP, CRUN, Worker
from flask import Flask
from redis import Redis

from api.app import create_app
from api.services import Services
from farm.config import Settings
from tests.api.api_parts import Caller, picture

Make = Callable[..., Caller]
BODY = dict(CRUN.body)


@pytest.fixture
def alice(caller: Make, worker: Worker) -> Caller:
    return caller("alice")


def ask(caller: Caller, method: str, path: str, **more: Any) -> Any:
    answer = caller.client.open(f"/api/v1/client{path}", method=method, headers={"X-API-KEY": caller.key}, **more)
    assert answer.status_code == 200, answer.text
    assert answer.json["code"] == 200
    return answer.json["data"]


def test_models_with_the_schema_of_their_inputs(alice: Caller) -> None:
    listed = ask(alice, "GET", "/job/Models")
    names = {model["model"] for model in listed["models"]}
    assert names == {"wan/2-2-animate-replace", "wan/2-2-animate-move"}, "those that a worker renders"
    some = ask(alice, "GET", "/job/Models?modality=video&operation=motion-transfer")
    assert [model["model"] for model in some["models"]] == ["wan/2-2-animate-move"]
    assert ask(alice, "GET", "/job/Models?modality=image")["models"] == []
    schema = ask(alice, "GET", "/job/Models/wan/2-2-animate-replace")["input_schema"]
    assert set(schema["required"]) == {"img_urls", "video_urls"} <= set(schema["properties"])
    assert set(BODY["input"]) <= set(schema["properties"])
    gone = alice.client.get("/api/v1/client/job/Models/wan/9-9", headers={"X-API-KEY": alice.key})
    assert (gone.status_code, gone.json["code"]) == (404, 404)


def test_an_estimate_says_what_is_paid(alice: Caller, parts: Services) -> None:
    told = ask(alice, "POST", "/job/EstimateTask", json=BODY)
    assert (told["estimated_credits"] > 0, told["affordable"]) == (True, True)
    parts.ledger.topup("alice", 1_000_000, "test")
    told = ask(alice, "POST", "/job/EstimateTask", json=BODY)
    assert (told["balance"], told["affordable"]) == (1, False)
    assert parts.ledger.page("alice").jobs == ()


@pytest.fixture
def free(settings: Settings, redis: Redis) -> Iterator[Flask]:
    prices = settings.prices.model_copy(update={"per_second": {}})
    made = create_app(settings.model_copy(update={"prices": prices}))
    yield made
    made.extensions["wanfarm"].redis.close()


def test_an_estimate_is_0_where_nobody_pays(alice: Caller, free: Flask) -> None:
    elsewhere = Caller(free.test_client(), "alice", alice.key)
    assert ask(elsewhere, "POST", "/job/EstimateTask", json=BODY)["estimated_credits"] == 0
    exact = ask(elsewhere, "POST", "/job/estimate-credits", json=BODY)
    assert exact == {"credits": 0, "estimated": False}


def test_a_file_is_uploaded_and_named_in_a_task(alice: Caller, worker: Worker) -> None:
    room = ask(alice, "GET", "/files/upload-url?content_type=image/png&ext=.png")
    put = alice.client.put(room["presigned_url"], data=picture(), content_type="image/png")
    assert put.status_code == 200
    body = {**BODY, "input": {"img_urls": [room["file_url"]], "video_urls": [CLIP]}}
    made = ask(alice, "POST", "/job/CreateTask", json=body)
    assert made["task_id"]
    assert worker.ledger.page("alice").jobs[0].spec.inputs["image"].stored


def test_a_key_of_the_form_that_its_clients_check_for(alice: Caller, parts: Services) -> None:
    key, text = parts.tenants.api_keys.create("alice", ak=True)
    assert len(text) == 35
    assert text.startswith("ak_")
    assert text[3:].isalnum()
    assert text.startswith(key.shown)
    with_it = Caller(alice.client, "alice", text)
    assert ask(with_it, "GET", "/account/balance")
    assert with_it.get("/v1/jobs").status_code == 200, "it is good in every dialect"
    typo = text[:-1] + ("a" if text[-1] != "a" else "b")
    assert alice.client.get("/v1/jobs", headers={"X-API-Key": typo}).status_code == 401
    parts.tenants.api_keys.revoke(key.id)
