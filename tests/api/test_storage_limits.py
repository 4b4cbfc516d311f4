"""What tenants may store: the length of an upload is signed, a tenant's bytes have an end, and the disk a floor."""

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from flask import Flask
from redis import Redis

from api.app import create_app
from api.services import Services
from farm.config import Settings, StorageSettings
from farm.intake.garbage import INPUT_RETENTIONS, UPLOADS_KEPT_S, InputGarbage, open_inputs
from farm.jobs.errors import Forbidden
from farm.storage.quota import Quota
from farm.storage.uploads import UPLOAD_TTL_S
from tests.api.api_parts import TINY, Caller, Hand, picture


@pytest.fixture
def limited(settings: Settings, redis: Redis) -> Iterator[Callable[..., tuple[Flask, Callable[[str], Caller]]]]:
    """A gateway with these [storage] settings, and callers of it."""
    made: list[Flask] = []

    def make(**storage: Any) -> tuple[Flask, Callable[[str], Caller]]:
        app = create_app(settings.model_copy(update={"storage": StorageSettings(**storage)}))
        made.append(app)
        parts: Services = app.extensions["wanfarm"]
        for prefix in ("inputs/", "uploads/", "results/"):
            parts.store.delete_prefix(prefix)
        Hand(parts.ledger, parts.store).offer(TINY)

        def caller(tenant: str) -> Caller:
            parts.tenants.create(tenant)
            return Caller(app.test_client(), tenant, parts.tenants.api_keys.create(tenant)[1])

        return app, caller

    yield make
    for app in made:
        app.extensions["wanfarm"].redis.close()


def test_the_length_of_an_upload_is_signed(alice: Caller) -> None:
    data = picture()
    upload = alice.post("/v1/uploads", json={"size": len(data)}).json
    for wrong in (data + b"x", data[:-1], data * 10):
        assert httpx.put(upload["url"], content=wrong).status_code == 403
    assert httpx.put(upload["url"], content=iter([data, data])).status_code == 403, "no length at all"
    assert httpx.put(upload["url"], content=data).status_code == 200
    assert alice.submit(image={"upload": upload["id"]})["state"] == "queued"


def test_an_upload_of_unknown_size_goes_through_the_gateway_and_is_bounded(alice: Caller, settings: Settings) -> None:
    upload = alice.post("/v1/uploads", json={}).json
    path = "/v1/uploads/" + upload["id"]
    assert upload["url"].endswith(path)
    assert upload["max_bytes"] == settings.gateway.max_body
    too_much = bytes(upload["max_bytes"] + 1)
    assert alice.client.put(path, data=too_much).status_code == 413
    assert alice.client.put(path, data=picture()).status_code == 200
    assert alice.submit(image={"upload": upload["id"]})["state"] == "queued"
    assert alice.client.put(path[:-1] + "x", data=b"x").status_code == 404


def test_more_than_an_input_may_have_gets_no_room(alice: Caller) -> None:
    answer = alice.post("/v1/uploads", json={"size": 10**12})
    assert (answer.status_code, answer.json["field"]) == (413, "size")


def test_a_tenants_bytes_have_an_end_and_nobody_elses(limited: Callable[..., Any]) -> None:
    _, caller = limited(max_bytes_per_tenant=1_000_000)
    mallory, victim = caller("mallory"), caller("victim")
    assert mallory.post("/v1/uploads", json={"size": 600_000}).status_code == 201
    refused = mallory.post("/v1/uploads", json={"size": 600_000})
    assert (refused.status_code, "600000 bytes of the 1000000" in refused.json["detail"]) == (403, True)
    body = {"base64Data": base64.b64encode(bytes(600_000)).decode(), "fileName": "x"}
    assert mallory.post("/api/file-base64-upload", json=body).json["code"] != 200
    assert victim.post("/v1/uploads", json={"size": 600_000}).status_code == 201
    assert victim.submit()["state"] == "queued"


def test_inputs_and_results_count_and_a_full_tenant_submits_nothing(limited: Callable[..., Any]) -> None:
    app, caller = limited(max_bytes_per_tenant=2_000)
    parts: Services = app.extensions["wanfarm"]
    ada = caller("ada")
    text = base64.b64encode(picture()).decode()
    assert ada.submit(image={"base64": text})["state"] == "queued"
    used = parts.uploads.quota.used("ada")
    assert 0 < used < 2_000
    parts.store.put_bytes("results/ada/job/1/video.mp4", bytes(3_000), "video/mp4")
    assert parts.uploads.quota.measure(parts.store)["ada"] == used + 3_000
    assert ada.post("/v1/jobs", json={"prompt": "p"}).status_code == 403
    parts.store.delete_prefix("results/ada/")
    parts.uploads.quota.measure(parts.store)
    assert ada.submit()["state"] == "queued"


def test_below_the_floor_nothing_is_taken_and_the_reason_is_shown(limited: Callable[..., Any]) -> None:
    _, caller = limited(min_free_bytes=10**18)
    ada = caller("ada")
    for answer in (ada.post("/v1/jobs", json={"prompt": "p"}), ada.post("/v1/uploads", json={"size": 5})):
        assert (answer.status_code, "its disk has" in answer.json["detail"]) == (503, True)
    assert "its disk has" in ada.get("/v1/health/ready").json["parts"]["storage"]
    assert ada.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize(
    "kind",
    ["text/html", "TEXT/HTML; x", "a\nb", "image/svg+xml", "x" * 3000, "é", "text/html\r\nx-amz-acl: public-read"],
)
def test_an_uploads_type_is_no_clients_choice(alice: Caller, kind: str) -> None:
    page = base64.b64encode(b"<script>alert(1)</script>").decode()
    body = {"base64Data": f"data:{kind};base64,{page}", "fileName": "a\r\nb.html" * 100}
    told = alice.post("/api/file-base64-upload", json=body).json
    assert told["code"] == 200, told
    answer = httpx.get(told["data"]["downloadUrl"])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_an_uploaded_picture_keeps_its_type(alice: Caller) -> None:
    body = {"base64Data": "data:image/png;base64," + base64.b64encode(picture()).decode(), "fileName": "a.png"}
    told = alice.post("/api/file-base64-upload", json=body).json["data"]
    assert httpx.get(told["downloadUrl"]).headers["Content-Type"] == "image/png"


def test_inputs_of_an_open_job_are_never_swept(alice: Caller, parts: Services, settings: Settings, hand: Hand) -> None:
    alice.submit(image={"base64": base64.b64encode(picture()).decode()})
    (ref,) = parts.ledger.page("alice").jobs[0].spec.inputs.values()
    later_s = INPUT_RETENTIONS * settings.scheduling.retention_s + 60

    def sweep() -> None:
        InputGarbage(
            parts.store,
            settings.scheduling.retention_s,
            lambda: time.time() + later_s,
            lambda tenant: open_inputs(parts.ledger, tenant),
        ).sweep()

    sweep()
    assert parts.store.stat(ref.key) is not None
    hand.finish(hand.claim())
    sweep()
    assert parts.store.stat(ref.key) is None


def test_uploads_live_as_long_as_they_can_be_named() -> None:
    assert UPLOADS_KEPT_S >= UPLOAD_TTL_S


def test_rooms_that_were_never_used_are_given_back(settings: Settings, redis: Redis) -> None:
    quota = Quota(redis, settings.model_copy(update={"storage": StorageSettings(max_bytes_per_tenant=100)}))
    quota.room("ada", 80, seconds=-3600.0 - 61)
    quota.room("ada", 80, seconds=1)
    assert quota.used("ada") == 80
    with pytest.raises(Forbidden):
        quota.room("ada", 21, seconds=1)
    assert quota.used("ada") == 80


def test_however_many_rooms_there_are_few_are_added_up(settings: Settings, redis: Redis) -> None:
    quota = Quota(redis, settings)
    for _ in range(200):
        quota.room("ada", 3, seconds=600)
    assert quota.used("ada") == 600
    assert redis.hlen("wf:rooms-by-minute:ada") <= 2
