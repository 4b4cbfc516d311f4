"""LoRAs in the farm's own API: added from an upload, seen by their owner alone, worn by jobs."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from jsonschema import Draft202012Validator

from api.services import Services
from farm.config import Settings
from tests.api.api_parts import TINY, Caller
from tests.lora_files import WIDE, lora_bytes


def uploaded(caller: Caller, data: bytes) -> str:
    room = caller.post("/v1/uploads", json={"for": "lora", "size": len(data)}).json
    assert room
    assert httpx.put(room["url"], content=data).is_success
    return str(room["id"])


def added(caller: Caller, name: str, data: bytes, **more: Any) -> Any:
    return caller.post("/v1/loras", json={"name": name, "upload": uploaded(caller, data), **more})


def test_a_lora_from_upload_to_job(alice: Caller, settings: Settings, app: Flask) -> None:
    data = lora_bytes(seed=1, wide=WIDE)
    room = alice.post("/v1/uploads", json={"for": "lora", "size": len(data)}).json
    # an input's room is another, and needs no body
    plain = alice.post("/v1/uploads").json
    assert room
    assert plain
    assert room["max_bytes"] == len(data)
    assert plain["max_bytes"] == settings.gateway.max_body
    assert httpx.put(room["url"], content=data).is_success
    body = {"name": "fox", "upload": room["id"]}
    made = alice.post("/v1/loras", json=body)
    assert made.status_code == 201, made.text
    lora = made.json
    assert lora
    assert made.headers["Location"] == f"/v1/loras/{lora['id']}"
    again = alice.post("/v1/loras", json=body)
    assert (again.status_code, again.json) == (200, lora)
    assert lora["fits"][TINY] == ["both"]
    schema = app.test_client().get("/v1/openapi.json").json
    assert schema
    Draft202012Validator({**schema["components"]["schemas"]["LoraView"], **schema}).validate(lora)
    for name in ("fox", lora["id"]):
        assert alice.get(f"/v1/loras/{name}").json == lora
    job = alice.submit(model=TINY, loras=[{"lora": "fox", "scale": 0.8}])
    assert job["loras"] == [{"id": lora["id"], "name": "fox", "sha256": lora["sha256"], "scale": 0.8, "expert": "both"}]
    assert alice.delete("/v1/loras/fox").json == lora
    assert alice.get("/v1/loras").json == {"object": "list", "data": []}
    assert alice.get(f"/v1/jobs/{job['id']}").json == job


def test_another_tenants_is_not_there(alice: Caller, bob: Caller) -> None:
    lora = added(alice, "fox", lora_bytes(seed=1)).json
    assert lora["fits"]["wan2.2-t2v-a14b-tiny"] == ["both", "high", "low"]
    upload = uploaded(alice, lora_bytes(seed=2))
    for name in ("fox", lora["id"]):
        assert bob.get(f"/v1/loras/{name}").status_code == 404
        assert bob.delete(f"/v1/loras/{name}").status_code == 404
        refused = bob.post("/v1/jobs", json={"prompt": "x", "model": TINY, "loras": [{"lora": name}]})
        nobodys = bob.post("/v1/jobs", json={"prompt": "x", "model": TINY, "loras": [{"lora": "w" + name[1:]}]})
        assert refused.status_code == nobodys.status_code == 422
        # nothing tells a foreign one from one that nobody has
        assert refused.text.replace(name, "?") == nobodys.text.replace("w" + name[1:], "?")
        assert (refused.json or {})["field"] == "loras.0.lora"
    assert bob.get("/v1/loras").json == {"object": "list", "data": []}
    assert bob.post("/v1/loras", json={"name": "mine", "upload": upload}).status_code == 422
    assert [one["name"] for one in (alice.get("/v1/loras").json or {})["data"]] == ["fox"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"name": 5}, "name"),
        ({"upload": "nothing-there"}, "upload"),
        ({"upload": "../x"}, "upload"),
        ({"sha256": "AB" * 32}, "sha256"),
        ({"sha256": "ab" * 32}, "upload"),
        ({"weight": 1}, "weight"),
    ],
)
def test_a_bad_request_names_its_field(alice: Caller, change: dict[str, Any], field: str) -> None:
    body = {"name": "fox", "upload": uploaded(alice, lora_bytes()), **change}
    refused = alice.post("/v1/loras", json=body)
    assert refused.status_code == 422
    assert (refused.json or {})["field"] == field


@pytest.mark.parametrize(
    "given", [{"lora": ""}, {"lora": "fox", "scale": "NaN"}, {"lora": "fox", "scale": 10.1}, {}, 5]
)
def test_a_job_names_loras_as_the_document_says(alice: Caller, given: Any) -> None:
    refused = alice.post("/v1/jobs", json={"prompt": "x", "model": TINY, "loras": [given]})
    assert refused.status_code == 422
    assert (refused.json or {})["field"].startswith("loras.0")
    bare = alice.post(
        "/v1/jobs",
        data=b'{"prompt": "x", "loras": [{"lora": "fox", "scale": NaN}]}',
        headers={"Content-Type": "application/json"},
    )
    assert bare.status_code in (400, 422)


def test_a_pickle_is_told_what_it_is(alice: Caller, parts: Services, tmp_path: Path) -> None:
    before = parts.store.list("loras/alice/")
    refused = added(alice, "fox", b"PK\x03\x04" + bytes(500))
    assert refused.status_code == 422
    assert "PyTorch file" in refused.json["detail"]
    assert "save_file" in refused.json["detail"]
    assert parts.store.list("loras/alice/") == before
