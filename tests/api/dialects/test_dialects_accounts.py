"""kie's files, balances, estimates, the statement; models that nobody here renders; two tenants at once."""

import base64
import io
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest
from dialect_parts import APIXO, CRUN, I2V, KIE, SELFHOSTED, T2V, WIRO, Worker
from receiver import Receiver
from standardwebhooks.webhooks import Webhook

from api.services import Services
from farm.config import Settings
from farm.guard import Guard
from farm.jobs.errors import ModelUnavailable, NotFound
from farm.jobs.states import State
from farm.tenants import vault
from farm.webhooks.postman import Postman
from farm.wire import crun, kie, task_ids
from tests.api.api_parts import Caller, picture
from tests.conftest import wait_until

Make = Callable[..., Caller]


@pytest.fixture
def alice(caller: Make, worker: Worker) -> Caller:
    return caller("alice")


def test_kie_uploads_come_back_as_inputs(alice: Caller, caller: Make, worker: Worker, files: str) -> None:
    fox = picture()
    plain = base64.b64encode(fox).decode()
    answers = [
        alice.post("/api/file-stream-upload", data={"file": (io.BytesIO(fox), "fox.png"), "uploadPath": "images/a"}),
        alice.post(
            "/api/file-base64-upload", json={"base64Data": f"data:image/png;base64,{plain}", "fileName": "a.png"}
        ),
        alice.post("/api/file-base64-upload", json={"base64Data": plain, "uploadPath": ""}),
        alice.post("/api/file-url-upload", json={"fileUrl": f"{files}/character.png", "uploadPath": "x"}),
    ]
    for answer in answers:
        body = answer.json
        assert (answer.status_code, body["success"], body["code"]) == (200, True, 200)
        data = body["data"]
        assert set(data) == {"fileName", "filePath", "downloadUrl", "fileSize", "mimeType", "uploadedAt"}
        assert (data["fileSize"], httpx.get(data["downloadUrl"]).content) == (len(fox), fox)
        given = {"prompt": "wave", "image_url": data["downloadUrl"]}
        asked = {"model": "wan/2-2-a14b-image-to-video-turbo", "input": given}
        worker.offer(T2V, I2V, "wan2.2-i2v-a14b-4step-tiny")
        made = alice.post("/api/v1/jobs/createTask", json=asked)
        assert made.json["code"] == 200, made.text
        job = worker.ledger.page("alice", limit=1).jobs[0]
        assert job.spec.inputs["image"].stored, "not fetched from ourselves: it was here already"
    url = answers[0].json["data"]["downloadUrl"]
    fresh = alice.post("/api/v1/common/download-url", json={"url": url}).json
    assert httpx.get(fresh["data"]).content == fox
    stranger = caller("bob").post("/api/v1/common/download-url", json={"url": url})
    assert isinstance(kie.parse_error(200, stranger.json), NotFound)
    wrong = [("file-base64-upload", {"base64Data": "!!!"}), ("file-base64-upload", {}), ("file-url-upload", {})]
    wrong += [("file-stream-upload", {}), ("v1/common/download-url", {"url": "https://elsewhere/x"})]
    for path, body in wrong:
        assert alice.post(f"/api/{path}", json=body).json["code"] in (404, 422)


def test_balances(alice: Caller, parts: Services) -> None:
    def told() -> list[float]:
        kie_, apixo = alice.get("/api/v1/chat/credit").json, alice.get("/api/v1/apikeys/current-balance").json
        crun_ = alice.get("/api/v1/client/account/balance", headers={"X-API-KEY": alice.key}).json
        return [kie_["data"], apixo["data"]["balance"], crun_["data"]["balance"]]

    assert told() == [kie.UNLIMITED] * 3
    parts.ledger.topup("alice", 9_500_000)
    assert told() == [9.5] * 3


def test_estimates_and_the_statement(alice: Caller, worker: Worker, parts: Services, files: str) -> None:
    def ask(body: object) -> tuple[int, object]:
        answer = alice.post("/api/v1/client/job/estimate-credits", json=body, headers={"X-API-KEY": alice.key})
        return answer.status_code, answer.json

    status, body = ask(CRUN.body)
    assert (status, crun.parse_estimate(body)) == (200, (12_500_000, True)), (
        "five seconds at 2.5: the clip was not fetched"
    )
    assert ask({"model": "wan/2-7-t2v", "input": {}})[0] == 422
    assert ask({})[0] == 422
    parts.ledger.topup("alice", 10_000_000, "first")
    KIE.made(alice)
    worker.render()
    first = alice.get("/v1/usage?limit=2").json
    assert first["credit"] == {"balance": 8.40625, "held": 0.0, "available": 8.40625}
    assert [(line["kind"], line["amount"]) for line in first["data"]] == [("topup", 10.0), ("hold", 1.59375)]
    rest = alice.get(f"/v1/usage?after={first['next_after']}").json
    assert [(line["kind"], line["note"]) for line in rest["data"]] == [("settle", "")]
    assert rest["next_after"] is None
    assert alice.get("/v1/usage?after=x").status_code == 422
    record = alice.get("/api/v1/jobs/recordInfo?taskId=" + task_ids.task_id("kie", rest["data"][0]["job"])).json
    assert record["data"]["state"] == "success"


def test_an_unknown_price_is_a_refusal_for_who_pays(alice: Caller, worker: Worker, parts: Services) -> None:
    unpriced = "wan2.2-ti2v-5b-tiny"
    worker.offer(T2V, I2V, unpriced)
    asked = {"prompt": "a fox", "model": unpriced}
    assert alice.post("/v1/videos", json=asked).status_code == 200
    parts.ledger.topup("alice", 10**9)
    refused = alice.post("/v1/videos", json=asked)
    assert (refused.status_code, refused.json["error"]["code"]) == (402, "insufficient_quota")
    assert "price" in refused.json["error"]["message"]


def test_models_that_this_farm_does_not_render(alice: Caller) -> None:
    for client, body in (
        (KIE, {"model": "wan/2-6-text-to-video", "input": {"prompt": "a fox"}}),
        (KIE, {"model": "wan/2-2-a14b-speech-to-video-turbo", "input": {"prompt": "a fox"}}),
        (KIE, {"model": "veo3", "input": {"prompt": "a fox"}}),
        (CRUN, {"model": "wan/2-7-t2v", "input": {"prompt": "a fox"}}),
        (WIRO, None),
    ):
        one = client if body is not None else replace(WIRO, path="/v1/Run/alibaba/wan 2.6")
        answer = one.submit(alice, body=body or {"prompt": "a fox"})
        assert isinstance(one.error(answer.status_code, answer.json, answer.headers), ModelUnavailable), answer.text
    gone = replace(APIXO, path="/api/v1/generateTask/wan-2-7-video").submit(alice, body={"input": {"prompt": "a fox"}})
    assert (gone.status_code, gone.json["code"]) == (404, 404)


def test_turbo_ids_are_the_few_step_lanes(alice: Caller, worker: Worker) -> None:
    KIE.made(alice)
    spec = worker.ledger.page("alice").jobs[0].spec
    assert (spec.model, spec.steps) == (T2V, 4)


def test_two_tenants_in_two_dialects_with_receivers_that_fail_hang_and_recover(
    caller: Make, worker: Worker, parts: Services, settings: Settings, receivers: Callable[..., Receiver]
) -> None:
    alice, bob = caller("alice"), caller("bob")
    sick, hanging = receivers(status=500), receivers(status=0)
    parts.secrets.set("alice", "kie", "hmac-key")
    kie_tasks = [KIE.made(alice, callback=sick.url) for _ in range(3)]
    crun_tasks = [CRUN.made(bob, callback=hanging.url) for _ in range(3)]
    for _ in range(6):
        worker.render()
    short = settings.webhooks.model_copy(update={"timeout_s": 0.5, "max_retry_s": 0.2})
    postman = Postman(
        settings.model_copy(update={"webhooks": short}), parts.redis, parts.ledger, parts.store, Guard(settings.intake)
    )

    def look(condition: Callable[[], object]) -> Callable[[], object]:
        return lambda: (postman.look(), condition())[1]

    wait_until(look(lambda: len(sick.posts) > 4 and len(hanging.posts) > 2), what="failures")
    sick.status = hanging.status = 200
    hanging.release()
    wait_until(look(lambda: not postman.deliveries.pending()), what="recovery")
    postman.close()
    for receiver, tenant, client, tasks in ((sick, "alice", KIE, kie_tasks), (hanging, "bob", CRUN, crun_tasks)):
        secret = parts.secrets.get(tenant, vault.WEBHOOK)
        assert secret is not None
        assert client.parse_callback is not None
        reports = [client.parse_callback(Webhook(secret).verify(p.body, p.headers)) for p in receiver.posts]
        assert {report.id for report in reports} == set(tasks)
        assert {report.state for report in reports} == {State.SUCCEEDED}
    for post in sick.posts:
        data = post.json["data"]
        assert kie.verify("hmac-key", data["task_id"], post.headers, int(post.headers["x-webhook-timestamp"]))
    assert SELFHOSTED.told(alice, task_ids.job_id("kie", kie_tasks[0]) or "").urls, "one farm, whatever the words"


def test_dead_letters_and_the_secret_over_http(
    caller: Make, worker: Worker, parts: Services, settings: Settings, receivers: Callable[..., Receiver]
) -> None:
    alice = caller("alice", role="admin")
    secret, receiver = alice.get("/v1/webhooks/secret").json["secret"], receivers(status=410)
    KIE.made(alice, callback=receiver.url)
    worker.render()
    postman = Postman(settings, parts.redis, parts.ledger, parts.store, Guard(settings.intake))
    postman.look()
    wait_until(lambda: alice.get("/v1/webhooks/dead").json["data"], what="a dead letter")
    (letter,) = alice.get("/v1/webhooks/dead").json["data"]
    assert (letter["status"], letter["error"]) == (410, "the receiver answered 410")
    Webhook(secret).verify(receiver.posts[0].body, receiver.posts[0].headers)
    bob = caller("bob", role="admin")
    assert bob.get("/v1/webhooks/dead").json["data"] == []
    assert bob.post(f"/v1/webhooks/{letter['job']}/replay").status_code == 404
    assert bob.get("/v1/webhooks/secret").json["secret"] != secret
    receiver.status = 200
    assert alice.post(f"/v1/webhooks/{letter['job']}/replay").status_code == 202
    postman.look()
    wait_until(lambda: len(receiver.posts) == 2, what="the replayed letter")
    postman.close()
    assert [post.headers["webhook-id"] for post in receiver.posts] == [letter["id"]] * 2
