"""The self-hosted dialect over HTTP: its document's promises, line by line."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from redis import Redis

from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.ids import new_job_id
from farm.jobs.states import HoldReason
from farm.ledger import Ledger
from tests.api.api_parts import TINY, VIDEO, Caller, Hand
from tests.conftest import wait_until

FULL = "wan2.2-t2v-a14b"


def generate(who: Caller, prompt: str = "A cat dancing on the moon", **more: str) -> str:
    answer = who.client.post("/generate", json={"prompt": prompt, **more}, headers={"X-API-Key": who.key})
    assert answer.status_code == 200, answer.text
    job_id = answer.json["job_id"]
    assert isinstance(job_id, str)
    return job_id


def test_health_needs_no_key(app, caller: Callable[..., Caller]) -> None:  # type: ignore[no-untyped-def]
    answer = app.test_client().get("/health")
    assert answer.status_code == 200
    assert answer.data == b'{"status":"ok","model_loaded":false,"current_job":null}'


def test_the_current_job_is_told_to_its_owner_alone(alice: Caller, bob: Caller, hand: Hand) -> None:
    job_id = generate(alice)
    hand.claim()
    assert alice.get("/health").json == {"status": "ok", "model_loaded": True, "current_job": job_id}
    assert bob.get("/health").json["current_job"] is None
    for headers in ({}, {"X-API-Key": "nonsense"}):
        answer = alice.client.get("/health", headers=headers)
        assert (answer.status_code, answer.json["current_job"]) == (200, None)


def test_a_job_walks_to_its_video(alice: Caller, hand: Hand) -> None:
    first = alice.post("/generate", json={"prompt": "one"}).json
    second = alice.post("/generate", json={"prompt": "two"}).json
    assert (first["status"], first["position"], second["position"]) == ("queued", 0, 1)
    assert list(first) == ["job_id", "status", "position"]
    status = f"/status/{first['job_id']}"
    assert alice.get(status).json == {"job_id": first["job_id"], "status": "queued", "video_url": None, "error": None}
    claim = hand.claim()
    assert claim.job.id == first["job_id"]
    assert alice.get(status).json["status"] == "processing"
    hand.finish(claim)
    done = alice.get(status).json
    assert (done["status"], done["error"]) == ("completed", None)
    assert httpx.get(done["video_url"]).content == VIDEO
    assert "X-Amz-Expires=3600" in done["video_url"]


def test_a_code_of_a_newer_worker_is_no_error_of_the_gateway(alice: Caller, hand: Hand, redis: Redis) -> None:
    job_id = generate(alice)
    claim = hand.claim()
    hand.ledger.fail(job_id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, "the picture has no head"))
    redis.hset(f"wf:job:{job_id}", "error_code", "headless")
    told = alice.get(f"/status/{job_id}")
    assert told.status_code == 200
    assert told.json["status"] == "failed"
    assert "head" in told.json["error"]


def test_a_failed_job_says_why(alice: Caller, hand: Hand, ledger: Ledger) -> None:
    job_id = generate(alice)
    claim = hand.claim()
    ledger.fail(job_id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, "the picture is no picture"))
    told = alice.get(f"/status/{job_id}").json
    assert told == {"job_id": job_id, "status": "failed", "video_url": None, "error": "the picture is no picture"}
    cancelled = generate(alice)
    alice.delete(f"/v1/jobs/{cancelled}")
    assert alice.get(f"/status/{cancelled}").json == {
        "job_id": cancelled,
        "status": "failed",
        "video_url": None,
        "error": "The job was cancelled",
    }


def test_a_job_that_expired_says_so_and_one_that_is_held_was_not_taken(alice: Caller, ledger: Ledger) -> None:
    """Jobs of the farm's own form are in this dialect's lists, too."""
    expired = alice.submit(start_by=(datetime.now(UTC) + timedelta(seconds=2)).isoformat())["id"]
    wait_until(lambda: ledger.reap() and alice.get(f"/status/{expired}").json["status"] == "failed")
    assert "start" in alice.get(f"/status/{expired}").json["error"]
    headers = {"Idempotency-Key": "one"}
    first = alice.post("/generate", json={"prompt": "one"}, headers=headers).json
    ledger.hold([first["job_id"]], HoldReason.PAUSED)
    assert alice.post("/generate", json={"prompt": "one"}, headers=headers).json == {**first, "position": 1}


def test_a_real_model_renders_the_documents_one_shape(alice: Caller, hand: Hand) -> None:
    hand.offer(FULL)
    job = alice.get(f"/v1/jobs/{generate(alice)}").json
    assert (job["model"], job["width"], job["height"], job["frames"], job["fps"]) == (FULL, 832, 480, 81, 16)
    assert job["dialect"] == "selfhosted"


def test_a_tiny_model_renders_its_own(alice: Caller) -> None:
    job = alice.get(f"/v1/jobs/{generate(alice)}").json
    assert (job["model"], job["width"], job["height"], job["frames"]) == (TINY, 256, 256, 17)


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}])
def test_a_missing_or_wrong_key_is_401(alice: Caller, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/generate"), ("GET", "/jobs"), ("GET", f"/status/{new_job_id()}")):
        answer = alice.client.open(path, method=method, headers=headers)
        assert (answer.status_code, answer.json) == (401, {"detail": "Invalid API key"})


def test_an_unknown_job_is_404(alice: Caller) -> None:
    for job_id in (new_job_id(), "550e8400-e29b-41d4-a716-446655440000", "nonsense"):
        answer = alice.get(f"/status/{job_id}")
        assert (answer.status_code, answer.json) == (404, {"detail": "Job not found"})


@pytest.mark.parametrize("body", [{}, {"prompt": ""}, {"prompt": None}, {"image_url": "http://example.com/a.png"}])
def test_a_missing_prompt_is_400(alice: Caller, body: dict[str, str]) -> None:
    answer = alice.post("/generate", json=body)
    assert (answer.status_code, answer.json) == (400, {"detail": "Prompt is required"})


def test_jobs_are_listed_newest_first(alice: Caller, bob: Caller, hand: Hand) -> None:
    first = generate(alice, "one")
    hand.finish(hand.claim())
    second, third = generate(alice, "two"), alice.submit("three")["id"]
    generate(bob)
    listed = alice.get("/jobs").json
    assert [job["job_id"] for job in listed] == [third, second, first]
    assert list(listed[0]) == ["job_id", "status", "prompt", "video_url", "error", "created_at"]
    assert [job["prompt"] for job in listed] == ["three", "two", "one"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", job["created_at"]) for job in listed)
    assert httpx.get(listed[2]["video_url"]).content == VIDEO

    def ids(query: str) -> list[str]:
        return [job["job_id"] for job in alice.get(f"/jobs?{query}").json]

    assert ids("status=completed&limit=10") == [first]
    assert ids("status=queued") == [third, second]
    assert ids("limit=1") == [third]
    assert ids("limit=0") == []
    assert ids("status=unheard-of") == []
    answer = alice.get("/jobs?limit=ten")
    assert (answer.status_code, list(answer.json)) == (400, ["detail"])


def test_a_job_that_was_taken_already_has_position_minus_one(alice: Caller, hand: Hand, ledger: Ledger) -> None:
    taken: list[str] = []
    position = ledger.position

    def slow(job):  # type: ignore[no-untyped-def]
        # the worker is faster than the answer
        taken.append(hand.claim().job.id)
        return position(job)

    ledger.position = slow  # type: ignore[method-assign]
    answer = alice.post("/generate", json={"prompt": "p"})
    assert answer.json == {"job_id": taken[0], "status": "queued", "position": -1}
