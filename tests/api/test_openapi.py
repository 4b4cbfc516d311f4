"""The OpenAPI document: valid, complete, and true of what the gateway answers."""

import re
from typing import Any

import pytest
from flask import Flask
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from api.own.operations import OPERATIONS
from tests.api.api_parts import Caller, Hand


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    made = app.test_client().get("/v1/openapi.json").json
    assert isinstance(made, dict)
    return made


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)  # type: ignore[arg-type]
    assert document["openapi"].startswith("3.1")


def test_every_address_of_the_farms_own_api_is_in_it(app: Flask, document: dict[str, Any]) -> None:
    ours = [rule for rule in app.url_map.iter_rules() if rule.endpoint.split(".")[0] in ("own", "keyless")]
    assert ours
    for rule in ours:
        assert app.view_functions[rule.endpoint] in OPERATIONS
        path = re.sub(r"<(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert method.lower() in document["paths"][path]
    operations = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(operations) == len(set(operations))


def check(document: dict[str, Any], path: str, method: str, status: int, body: Any) -> None:
    answers = document["paths"][path][method]["responses"]
    content = answers[str(status)]["content"] if str(status) in answers else answers["default"]["content"]
    schema = next(iter(content.values()))["schema"]
    # the document itself is the place where the reference is looked up
    Draft202012Validator({**document, "$ref": schema["$ref"]}).validate(body)


def test_answers_are_as_it_says(document: dict[str, Any], alice: Caller, hand: Hand) -> None:
    made = alice.post("/v1/jobs", json={"prompt": "p", "metadata": {"a": "b"}})
    check(document, "/v1/jobs", "post", 201, made.json)
    hand.finish(hand.claim())
    check(document, "/v1/jobs/{job_id}", "get", 200, alice.get(f"/v1/jobs/{made.json['id']}").json)
    check(document, "/v1/jobs", "get", 200, alice.get("/v1/jobs").json)
    models = alice.get("/v1/models").json
    check(document, "/v1/models", "get", 200, models)
    assert {model["follows"] for model in models["data"] if "animate" in model["id"]} == {"video"}
    check(document, "/v1/uploads", "post", 201, alice.post("/v1/uploads").json)
    check(document, "/v1/health", "get", 200, alice.get("/v1/health").json)
    check(document, "/v1/jobs", "post", 422, alice.post("/v1/jobs", json={"x": 1}).json)
    check(document, "/v1/jobs/{job_id}", "get", 404, alice.get("/v1/jobs/nonsense").json)
