"""/v1/jobs as a client sees it."""

import base64
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from redis.connection import AbstractConnection

from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.ids import is_job_id, new_job_id
from farm.ledger import Ledger
from tests.api.api_parts import TINY, VIDEO, Caller, Hand, picture


def test_a_created_job_is_told_whole(alice: Caller) -> None:
    answer = alice.post("/v1/jobs", json={"prompt": "a fox", "seed": 7, "metadata": {"shot": "12"}, "label": "reel"})
    assert answer.status_code == 201
    job = answer.json
    assert is_job_id(job["id"])
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["object"], job["state"], job["position"], job["model"], job["task"]) == (
        "job",
        "queued",
        0,
        TINY,
        "t2v",
    )
    assert (job["seed"], job["metadata"], job["label"], job["attempt"]) == (7, {"shot": "12"}, "reel", 0)
    assert (job["result"], job["error"], job["eta_s"], job["phase"]) == (None, None, None, None)
    assert abs(datetime.fromisoformat(job["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert job["created_at"].endswith("Z")
    assert alice.get(f"/v1/jobs/{job['id']}").json == job


def test_a_submission_asks_redis_twice(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its script, and whether that is kept; all else is known for a moment, so one of a few is enough to see it."""
    send, sent = AbstractConnection.send_packed_command, list[bytes]()

    def noted(self: AbstractConnection, command: Any, check_health: bool = True) -> None:
        sent.append(b"".join(command).split(b"\r\n")[2])
        send(self, command, check_health)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", noted)
    for _ in range(50):
        sent.clear()
        alice.submit()
        if sent == [b"EVALSHA", b"WAITAOF"]:
            return
    raise AssertionError(sent)


def test_either_header_carries_the_key(alice: Caller) -> None:
    job = alice.submit()
    for headers in ({"X-API-Key": alice.key}, {"x-api-key": alice.key}, {"Authorization": f"bearer  {alice.key}"}):
        assert alice.client.get(f"/v1/jobs/{job['id']}", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "nonsense"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic dTpw"},
        {"X-API-Key": "wf_live_00000000" + "0" * 28 + "_000000"},
    ],
)
def test_without_a_valid_key_nothing_is_answered(alice: Caller, headers: dict[str, str]) -> None:
    for path in ("/v1/jobs", "/v1/models", "/v1/events", f"/v1/jobs/{new_job_id()}"):
        answer = alice.client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.content_type == "application/problem+json"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_job_walks_to_its_result(alice: Caller, hand: Hand) -> None:
    address = f"/v1/jobs/{alice.submit(frames=17)['id']}"
    claim = hand.claim()
    running = alice.get(address).json
    assert (running["state"], running["phase"], running["position"], running["attempt"]) == (
        *("running", "assigned"),
        *(None, 1),
    )
    hand.progress(claim, 2, 4)
    running = alice.get(address).json
    assert (running["phase"], running["step"], running["steps"], running["progress"]) == ("denoising", 2, 4, 0.45)
    assert running["eta_s"] is None or running["eta_s"] >= 0
    hand.finish(claim)
    done = alice.get(address).json
    assert (done["state"], done["progress"], done["phase"], done["eta_s"]) == ("succeeded", 1.0, None, None)
    result = done["result"]
    assert (result["frames"], result["size"], result["sha256"]) == (17, len(VIDEO), "ab" * 32)
    assert timedelta(minutes=55) < datetime.fromisoformat(result["expires_at"]) - datetime.now(UTC)
    for url in (result["video_url"], result["poster_url"], result["recipe_url"]):
        assert httpx.get(url).content == VIDEO


def test_a_failed_job_says_why(alice: Caller, hand: Hand, ledger: Ledger) -> None:
    address = f"/v1/jobs/{alice.submit()['id']}"
    claim = hand.claim()
    ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, "the picture is no picture"))
    failed = alice.get(address).json
    assert failed["state"] == "failed"
    assert failed["error"] == {"code": "invalid_input", "message": "the picture is no picture"}
    assert failed["result"] is None


def test_positions_count_down_the_tenants_own_line(alice: Caller, bob: Caller) -> None:
    first, second = alice.submit(), alice.submit()
    assert (first["position"], second["position"]) == (0, 1)
    assert bob.submit()["position"] == 0
    urgent = alice.submit(priority=9)
    assert urgent["position"] == 0
    assert alice.get(f"/v1/jobs/{second['id']}").json["position"] == 2


def test_a_foreign_job_is_not_there(alice: Caller, bob: Caller) -> None:
    job_id = alice.submit()["id"]
    for theirs in (job_id, new_job_id(), str(uuid.uuid4()), "nonsense", "a" * 500, "%00", "..%2f..", job_id.upper()):
        answers = [
            bob.get(f"/v1/jobs/{theirs}"),
            bob.delete(f"/v1/jobs/{theirs}"),
            bob.post(f"/v1/jobs/{theirs}/cancel"),
            bob.get(f"/v1/jobs/{theirs}/events"),
            bob.get(f"/status/{theirs}"),
        ]
        assert {answer.status_code for answer in answers} == {404}
    assert bob.get("/v1/jobs").json == {"object": "list", "data": [], "next_cursor": None}
    assert alice.get(f"/v1/jobs/{job_id}").json["state"] == "queued"


def test_no_foreign_shape_of_an_id_reaches_redis(alice: Caller, ledger: Ledger) -> None:
    alice.get("/v1/models")  # the key is known now
    pool = ledger._redis.connection_pool
    # not the server's own count: others may ask it, too
    with patch.object(pool, "get_connection", wraps=pool.get_connection) as asked:
        for path in ("no-id-of-ours", "no-id-of-ours/events", "../jobs"):
            assert alice.get(f"/v1/jobs/{path}").status_code == 404
        assert alice.delete("/v1/jobs/no-id-of-ours").status_code == 404
        assert alice.get("/status/no-id-of-ours").status_code == 404
        assert asked.call_count == 0
        assert alice.get(f"/v1/jobs/{new_job_id()}").status_code == 404
        assert asked.call_count > 0


# --- listing


def test_lists_are_newest_first_and_go_on(alice: Caller) -> None:
    ids = [alice.submit()["id"] for _ in range(5)]
    seen, cursor = [], None
    for _ in range(3):
        page = alice.get("/v1/jobs", query_string={"limit": 2, **({"cursor": cursor} if cursor else {})}).json
        seen += [job["id"] for job in page["data"]]
        cursor = page["next_cursor"]
    assert seen == ids[::-1]
    assert cursor is None


def test_lists_are_filtered(alice: Caller, hand: Hand) -> None:
    first = alice.submit(label="one")["id"]
    hand.finish(hand.claim())
    second = alice.submit(label="two")["id"]
    third = alice.submit()["id"]
    assert alice.delete(f"/v1/jobs/{third}").status_code == 200

    def listed(**query: object) -> list[str]:
        return [job["id"] for job in alice.get("/v1/jobs", query_string=query).json["data"]]

    assert listed(state="succeeded") == [first]
    assert listed(state=["queued", "cancelled"]) == [third, second]
    assert listed(label="two") == [second]
    assert listed(label="three") == []
    refused = alice.get("/v1/jobs", query_string={"batch": "two"})
    assert refused.status_code == 422
    assert "`label`" in refused.text
    assert listed(model=TINY) == [third, second, first]
    assert listed(model="other") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": ["1", "2"]}, "limit"),
        ({"state": "done"}, "state"),
        ({"state": ["queued", ""]}, "state"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"status": "queued"}, "status"),
    ],
)
def test_a_wrong_filter_is_named(alice: Caller, query: dict[str, object], field: str) -> None:
    answer = alice.get("/v1/jobs", query_string=query)
    assert (answer.status_code, answer.json["field"]) == (422, field)


# --- cancelling


def test_a_queued_job_is_cancelled_at_once(alice: Caller) -> None:
    job_id = alice.submit()["id"]
    for answer in (alice.delete(f"/v1/jobs/{job_id}"), alice.post(f"/v1/jobs/{job_id}/cancel")):
        assert (answer.status_code, answer.json["state"], answer.json["error"]) == (200, "cancelled", None)


def test_a_running_job_is_told_to_stop(alice: Caller, hand: Hand, ledger: Ledger) -> None:
    job_id = alice.submit()["id"]
    claim = hand.claim()
    for _ in range(2):
        answer = alice.post(f"/v1/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json["state"], answer.json["cancelling"]) == (202, "running", True)
    ledger.fail(job_id, claim.attempt, JobFault(FaultCode.CANCELLED, "cancelled"))
    assert alice.delete(f"/v1/jobs/{job_id}").status_code == 200
    assert alice.get(f"/v1/jobs/{job_id}").json["cancelling"] is False


def test_a_finished_job_cannot_be_cancelled(alice: Caller, hand: Hand) -> None:
    job_id = alice.submit()["id"]
    hand.finish(hand.claim())
    answer = alice.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json["detail"]) == (409, "the job has succeeded already")


# --- saying it twice


def test_the_same_key_and_body_is_the_same_job(alice: Caller, bob: Caller) -> None:
    def say(who: Caller, prompt: str = "a fox") -> tuple[int, str]:
        answer = who.post("/v1/jobs", json={"prompt": prompt}, headers={"Idempotency-Key": "shot-1"})
        return answer.status_code, answer.json.get("id")

    status, first = say(alice)
    assert status == 201
    assert say(alice) == (200, first)
    answer = alice.post("/v1/jobs", json={"prompt": "a fox"}, headers={"Idempotency-Key": "shot-1"})
    assert answer.headers["Idempotent-Replayed"] == "true"
    other = alice.post("/v1/jobs", json={"prompt": "a bear"}, headers={"Idempotency-Key": "shot-1"})
    assert (other.status_code, other.json["field"]) == (409, "Idempotency-Key")
    assert say(bob)[0] == 201
    assert len(alice.get("/v1/jobs").json["data"]) == 1


@pytest.mark.parametrize("key", ["a" * 256, "\t", "é"])
def test_a_bad_idempotency_key_is_named(alice: Caller, key: str) -> None:
    answer = alice.post("/v1/jobs", json={"prompt": "p"}, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json["field"]) == (422, "Idempotency-Key")


# --- inputs, limits


def test_a_picture_comes_in_three_ways(alice: Caller) -> None:
    data = picture()
    text = base64.b64encode(data).decode()
    upload = alice.post("/v1/uploads", json={"size": len(data)}).json
    assert (upload["method"], upload["max_bytes"] > 0) == ("PUT", True)
    assert httpx.put(upload["url"], content=data).status_code == 200
    for given in (text and {"base64": text}, f"data:image/png;base64,{text}", {"upload": upload["id"]}):
        job = alice.submit(image=given)
        assert (job["task"], job["state"]) == ("i2v", "queued")
        assert job["inputs"]["image"]["width"] == 128
        assert job["inputs"]["image"]["content_type"] == "image/png"


def test_a_foreign_upload_is_not_there(alice: Caller, bob: Caller) -> None:
    upload = alice.post("/v1/uploads", json={"size": len(picture())}).json
    assert httpx.put(upload["url"], content=picture()).status_code == 200
    answer = bob.post("/v1/jobs", json={"prompt": "p", "image": {"upload": upload["id"]}})
    assert answer.status_code in (404, 422)
    assert bob.get("/v1/jobs").json["data"] == []


def test_who_does_not_wait_gets_a_waiting_job(alice: Caller) -> None:
    body = {"prompt": "p", "image": "http://93.184.216.34/fox.png"}
    answer = alice.post("/v1/jobs", json=body, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.json["state"]) == (201, "waiting")
    assert answer.json["inputs"]["image"]["url"] == "http://93.184.216.34/fox.png"
    assert alice.delete(f"/v1/jobs/{answer.json['id']}").json["state"] == "cancelled"


def test_too_many_is_told_with_a_time(caller: Callable[..., Caller], hand: Hand) -> None:
    small = caller("small", max_open=1)
    small.submit()
    answer = small.post("/v1/jobs", json={"prompt": "p"})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json["type"] == "urn:wanfarm:problem:too-many"


def test_a_model_is_rendered_only_where_a_worker_offers_it(alice: Caller) -> None:
    listed = {model["id"]: model for model in alice.get("/v1/models").json["data"]}
    assert listed[TINY]["available"]
    assert listed[TINY]["tasks"] == {"t2v": [], "i2v": ["image"]}
    assert listed[TINY]["defaults"]["frames"] == 17
    assert not listed["wan2.2-t2v-a14b"]["available"]
    answer = alice.post("/v1/jobs", json={"prompt": "p", "model": "wan2.2-t2v-a14b"})
    assert (answer.status_code, answer.json["field"]) == (422, "model")
    assert TINY in answer.json["detail"]


def test_without_any_worker_a_job_is_refused_for_now(caller: Callable[..., Caller]) -> None:
    answer = caller("early").post("/v1/jobs", json={"prompt": "p"})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1


def test_workers_are_for_operators(alice: Caller, caller: Callable[..., Caller]) -> None:
    assert alice.get("/v1/workers").status_code == 403
    workers = caller("ops", role="operator").get("/v1/workers").json["data"]
    assert [(worker["worker"], worker["models"]) for worker in workers] == [("hand", [TINY])]


def test_an_operators_key_opens_no_other_tenants_jobs(alice: Caller, caller: Callable[..., Caller]) -> None:
    job_id = alice.submit()["id"]
    assert caller("ops", role="operator").get(f"/v1/jobs/{job_id}").status_code == 404


def test_the_time_left_is_told_by_the_ledgers_clock(alice: Caller, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway whose clock is an hour ahead said an hour more for every step that was done."""
    job = alice.submit(steps=4)
    claim = hand.claim()
    hand.progress(claim, 0, 4)
    time.sleep(0.05)  # the pace that is extrapolated
    hand.progress(claim, 2, 4)
    ahead = time.time() + 3600
    monkeypatch.setattr("time.time", lambda: ahead)
    left = alice.get(f"/v1/jobs/{job['id']}").json["eta_s"]
    assert left is not None
    assert 0 < left < 60
