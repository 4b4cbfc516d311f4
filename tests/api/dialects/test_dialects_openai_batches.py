"""The unmodified openai SDK sends a batch."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from flask import Flask
from redis import Redis

from api.services import Services
from farm.batches.request_file import RequestFile
from farm.claiming.permits import Permits
from farm.io_worker.batch_keeper import keeper_of
from farm.jobs.batch import ActKind
from farm.jobs.errors import FaultCode, JobFault, NoWorkerYet
from farm.jobs.states import Phase
from tests.api.api_parts import POOL, TINY, Caller, Hand, picture
from tests.api.bad_fields import BAD_FIELDS
from tests.api.batch_api_parts import ndjson, send
from tests.api.gateway_thread import served
from tests.conftest import wait_until


@pytest.fixture
def sdk(app: Flask, alice: Caller) -> Iterator[openai.OpenAI]:
    with served(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=alice.key, max_retries=0) as client:
        yield client


@pytest.fixture
def look(parts: Services, redis: Redis) -> Any:
    """What the io worker does each second."""
    permits = Permits(parts.settings)
    return keeper_of(parts.settings, redis, parts.ledger, parts.store, permits).look


def lines(*requests: dict[str, Any], url: str = "/v1/videos") -> bytes:
    framed = (
        {"custom_id": f"shot-{n}", "method": "POST", "url": url, "body": body} for n, body in enumerate(requests, 1)
    )
    return "".join(json.dumps(line) + "\n" for line in framed).encode()


VIDEO_BODY = {"model": TINY, "prompt": "a fox", "size": "128x128", "frames": 9, "steps": 2}


def ask(sdk: openai.OpenAI, data: bytes, endpoint: Any = "/v1/videos") -> Any:
    file = sdk.files.create(file=("shots.jsonl", data), purpose="batch")
    return sdk.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"film": "fox"}
    )


def test_from_file_to_output_and_errors(sdk: openai.OpenAI, look: Any, hand: Hand) -> None:
    batch = ask(sdk, lines(VIDEO_BODY, {**VIDEO_BODY, "prompt": "a hare"}, {**VIDEO_BODY, "prompt": "an owl"}))
    assert (batch.status, batch.object, batch.metadata) == ("validating", "batch", {"film": "fox"})
    look()
    batch = sdk.batches.retrieve(batch.id)
    assert (batch.status, batch.request_counts.total) == ("in_progress", 3)
    hand.finish(hand.claim())
    # the output can be read while the batch runs
    output = [json.loads(line) for line in sdk.files.content(batch.output_file_id).text.splitlines()]
    assert [(line["custom_id"], line["response"]["status_code"], line["error"]) for line in output] == [
        ("shot-1", 200, None)
    ]
    video = output[0]["response"]["body"]
    assert (video["status"], video["prompt"]) == ("completed", "a fox")
    assert sdk.videos.retrieve(video["id"]).status == "completed"
    claim = hand.claim()
    hand.ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, "no picture"))
    hand.finish(hand.claim())
    batch = sdk.batches.retrieve(batch.id)
    assert (batch.status, batch.completed_at is not None) == ("completed", True)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 1)
    errors = [json.loads(line) for line in sdk.files.content(batch.error_file_id).text.splitlines()]
    assert [(line["custom_id"], line["response"], line["error"]["code"]) for line in errors] == [
        ("shot-2", None, "invalid_input")
    ]
    assert [one.id for one in sdk.batches.list()] == [batch.id]


def test_a_batch_of_the_farms_own_form_is_one_of_openais_too(
    sdk: openai.OpenAI, alice: Caller, look: Any, hand: Hand
) -> None:
    by_file = ask(sdk, lines(VIDEO_BODY))
    manifest = ndjson({"prompt": "a fox", "id": "fox"}, {"prompt": "a hare"})
    own = send(alice, manifest, name="reel", takes=2).json["id"]
    # each in the form in which it came, unless one of OpenAI's clients asks
    assert ["status" in one for one in alice.get("/v1/batches").json["data"]] == [False, True]
    listed = list(sdk.batches.list())
    assert [(one.id, one.status) for one in listed] == [(own, "in_progress"), (by_file.id, "validating")]
    batch = sdk.batches.retrieve(own)
    assert batch == listed[0]
    assert (batch.endpoint, batch.metadata, type(batch.created_at)) == ("/v1/jobs", {"name": "reel"}, int)
    assert (batch.input_file_id, batch.expires_at, batch.error_file_id) == (None, None, None)
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (4, 0, 0)
    hand.finish(hand.claim())
    assert batch.output_file_id is not None
    [output] = [json.loads(line) for line in sdk.files.content(batch.output_file_id).text.splitlines()]
    assert (output["custom_id"], output["response"]["body"]["state"]) == ("fox-take1", "succeeded")
    # a part of it is cancelled: the rest goes on
    assert alice.post(f"/v1/batches/{own}/cancel?view=openai", json={"label": "none"}).json["status"] == "in_progress"
    cancelled = sdk.batches.cancel(own)
    assert (cancelled.status, cancelled.cancelled_at is not None) == ("cancelled", True)
    counts = sdk.batches.retrieve(own).request_counts
    assert counts is not None
    assert (counts.completed, counts.failed) == (1, 3)
    errors = [json.loads(line) for line in sdk.files.content(f"file-error-{own[6:]}").text.splitlines()]
    assert [line["custom_id"] for line in errors] == ["fox-take2", "line-2-take1", "line-2-take2"]
    assert alice.get(f"/v1/batches/{own}").json["state"] == "ended"


def test_jobs_of_the_farms_own_form(sdk: openai.OpenAI, look: Any, hand: Hand) -> None:
    body = {"model": TINY, "prompt": "a fox", "width": 128, "height": 128, "frames": 9, "steps": 2}
    batch = ask(sdk, lines(body, url="/v1/jobs"), "/v1/jobs")
    look()
    hand.finish(hand.claim())
    [output] = [json.loads(line) for line in sdk.files.content(f"file-output-{batch.id[6:]}").text.splitlines()]
    assert output["response"]["body"]["result"]["video_url"].startswith("http")


@pytest.mark.parametrize("endpoint", ["/v1/videos", "/v1/jobs"])
def test_requests_that_differ_in_prompt_and_seed_keep_their_own(
    sdk: openai.OpenAI, look: Any, parts: Services, endpoint: str
) -> None:
    like = {"model": TINY, "steps": 2}
    given = [("a fox", 7), ("a hare", 8), ("a crow", None)]
    bodies = [{**like, "prompt": prompt} | ({} if seed is None else {"seed": seed}) for prompt, seed in given]
    batch = ask(sdk, lines(*bodies, url=endpoint), endpoint)
    look()
    jobs = sorted(parts.ledger.page("alice", batch=batch.id, limit=9).jobs, key=lambda job: job.shot["line"])
    assert [(job.spec.prompt, job.seed_given) for job in jobs] == [(prompt, seed is not None) for prompt, seed in given]
    assert [job.spec.seed for job in jobs[:2]] == [7, 8]
    if endpoint == "/v1/videos":
        assert sorted(video.prompt or "" for video in sdk.videos.list()) == sorted(prompt for prompt, _ in given)


@pytest.mark.parametrize("wrong", [{"prompt": " "}, {"prompt": "x" * 30_000}, {"prompt": "a fox", "seed": -5}])
def test_a_request_like_one_before_is_checked_all_the_same(
    sdk: openai.OpenAI, look: Any, parts: Services, wrong: dict[str, Any]
) -> None:
    batch = ask(sdk, lines(VIDEO_BODY, {**VIDEO_BODY, **wrong}))
    look()
    found = sdk.batches.retrieve(batch.id)
    assert (found.status, [one.line for one in found.errors.data]) == ("failed", [2])
    assert parts.ledger.batch("alice", batch.id) is None


def test_it_is_shown_and_acted_on_as_a_batch_of_the_farms_own_form_too(
    sdk: openai.OpenAI, look: Any, alice: Caller
) -> None:
    batch = ask(sdk, lines(VIDEO_BODY))
    path = f"/v1/batches/{batch.id}"
    early = alice.get(path, query_string={"view": "own"})
    words = "the batch is validating: it has no jobs yet; ask again when its file is read"
    assert (early.status_code, early.json["detail"]) == (409, words)
    assert alice.post(f"{path}/pause").status_code == alice.get(f"{path}/jobs").status_code == 409
    look()
    assert (alice.get(path).json["status"], alice.get(f"{path}?view=own").json["state"]) == ("in_progress", "open")
    assert [one["id"] for one in alice.get("/v1/batches?view=own").json["data"]] == [batch.id]
    held = alice.post(f"{path}/pause?view=own").json
    assert (held["held_for"], held["acts"][0]["kind"]) == ({"paused": 1}, "pause")
    assert alice.post(f"{path}/cancel").json["status"] in ("cancelling", "cancelled")


def test_a_bad_file_fails_with_its_lines(sdk: openai.OpenAI, look: Any, alice: Caller) -> None:
    data = lines(VIDEO_BODY, {**VIDEO_BODY, "size": "3x3"}) + b"{broken\n"
    data += json.dumps({"custom_id": "shot-1", "method": "GET", "url": "/v1/jobs", "body": VIDEO_BODY}).encode()
    batch = ask(sdk, data)
    look()
    batch = sdk.batches.retrieve(batch.id)
    assert (batch.status, batch.output_file_id) == ("failed", None)
    found = [(one.line, one.code, one.param) for one in batch.errors.data]
    assert [line for line, _, _ in found] == [2, 3, 4, 4, 4]
    assert {code for _, code, _ in found} >= {"duplicate_custom_id", "invalid_method", "invalid_url"}
    assert all(one.message for one in batch.errors.data)
    assert alice.get("/v1/jobs").json["data"] == []  # type: ignore[index]


def test_what_is_wrong_with_a_single_job_is_told_of_a_line(sdk: openai.OpenAI, look: Any) -> None:
    batch = ask(sdk, lines(*(body for body, _, _ in BAD_FIELDS), url="/v1/jobs"), "/v1/jobs")
    look()
    told = {(fault.line, fault.param) for fault in sdk.batches.retrieve(batch.id).errors.data}  # type: ignore[union-attr]
    assert told >= {(line, f"body.{field}") for line, (_, field, _) in enumerate(BAD_FIELDS, 1)}


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"image": "http://169.254.169.254/x.png"}, "not public"),
        ({"image": {"url": "ftp://studio/x.png"}}, "http:// or https://"),
        ({"image": {"upload": "0" * 32}}, "no such upload"),
        ({"image": "data:image/png;base64,AAAA"}, "no pictures themselves"),
        ({"webhook_url": "http://93.184.216.34/told"}, "https://"),
    ],
)
def test_what_a_single_job_may_not_name_a_file_may_not_either(
    sdk: openai.OpenAI, look: Any, named: dict[str, Any], words: str
) -> None:
    batch = ask(sdk, lines({"model": TINY, "prompt": "a fox", **named}, url="/v1/jobs"), "/v1/jobs")
    look()
    [fault] = sdk.batches.retrieve(batch.id).errors.data  # type: ignore[union-attr, misc]
    assert (fault.line, fault.param) == (1, f"body.{next(iter(named))}")
    assert words in (fault.message or "")


def test_a_cancel_of_a_part_is_not_one_of_the_whole_before_there_are_jobs(
    sdk: openai.OpenAI, look: Any, alice: Caller
) -> None:
    batch = ask(sdk, lines(VIDEO_BODY))
    assert alice.post(f"/v1/batches/{batch.id}/cancel", json={"label": "none"}).status_code == 409
    look()
    assert sdk.batches.retrieve(batch.id).status == "in_progress"


def test_a_video_of_a_file_may_name_what_a_single_one_may(
    sdk: openai.OpenAI, look: Any, alice: Caller, parts: Services
) -> None:
    data = picture()
    upload = alice.post("/v1/uploads", json={"size": len(data)}).json
    assert upload is not None
    httpx.put(upload["url"], content=data).raise_for_status()
    # an address that the farm gave out, and a model whose tiny twin is all that this farm offers
    given = {"input_reference": {"image_url": upload["url"].partition("?")[0]}, "model": TINY.removesuffix("-tiny")}
    single = alice.post("/v1/videos", json={"prompt": "a fox", **given})
    assert single.status_code == 200, single.text
    batch = ask(sdk, lines({"prompt": "a fox", **given}))
    look()
    assert sdk.batches.retrieve(batch.id).status == "in_progress"
    [job] = parts.ledger.page("alice", batch=batch.id, limit=9).jobs
    assert (job.spec.model, job.spec.inputs["image"].upload) == (TINY, upload["id"])


def test_cancel_before_and_after_it_is_admitted(sdk: openai.OpenAI, look: Any, parts: Services) -> None:
    early, late = ask(sdk, lines(VIDEO_BODY)), ask(sdk, lines(VIDEO_BODY, VIDEO_BODY))
    assert sdk.batches.cancel(early.id).status == "cancelled"
    assert sdk.batches.cancel(early.id).status == "cancelled"
    look()
    assert sdk.batches.cancel(late.id).status in ("cancelling", "cancelled")
    wait_until(lambda: look() or sdk.batches.retrieve(late.id).status == "cancelled")
    assert sdk.batches.retrieve(early.id).status == "cancelled"
    assert parts.ledger.batch("alice", early.id) is None


def test_the_same_key_makes_no_second_batch(sdk: openai.OpenAI, look: Any, alice: Caller, parts: Services) -> None:
    file = sdk.files.create(file=("shots.jsonl", lines(VIDEO_BODY)), purpose="batch")
    asked = {"input_file_id": file.id, "endpoint": "/v1/videos", "completion_window": "24h"}

    def send_again(**changes: str) -> Any:
        return alice.post("/v1/batches", json={**asked, **changes}, headers={"Idempotency-Key": "reel"})

    first = send_again()
    assert send_again().json == first.json
    look()
    # also when the file is gone
    sdk.files.delete(file.id)
    again = send_again()
    assert (again.json["id"], again.json["status"]) == (first.json["id"], "in_progress")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert send_again(completion_window="48h").status_code == 409
    listed = alice.get("/v1/batches", query_string={"idempotency_key": "reel"}).json["data"]  # type: ignore[index]
    assert [one["id"] for one in listed] == [first.json["id"]]
    assert len(parts.ledger.batch_ids("alice", limit=9)) == 1
    # a manifest with that key is another request
    assert send(alice, ndjson({"prompt": "a fox"}), headers={"Idempotency-Key": "reel"}).status_code == 409


def test_cancelled_however_many_acts_follow_and_not_where_a_part_was(
    sdk: openai.OpenAI, look: Any, alice: Caller, hand: Hand
) -> None:
    whole, part, done = (ask(sdk, lines(VIDEO_BODY)) for _ in range(3))
    look()
    sdk.batches.cancel(whole.id)
    alice.post(f"/v1/batches/{part.id}/cancel", json={"label": "none"})
    for _ in range(21):
        alice.post(f"/v1/batches/{whole.id}/pause")
    assert sdk.batches.retrieve(whole.id).status == "cancelled"
    assert sdk.batches.retrieve(part.id).status == "in_progress"
    for _ in range(2):
        hand.finish(hand.claim())
    assert sdk.batches.cancel(done.id).status == "completed"


def test_a_retry_after_a_cancel_goes_on(sdk: openai.OpenAI, look: Any, alice: Caller, hand: Hand) -> None:
    batch = ask(sdk, lines(VIDEO_BODY, VIDEO_BODY))
    look()
    claim = hand.claim()
    hand.ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, "no picture"))
    assert sdk.batches.cancel(batch.id).status == "cancelled"
    alice.post(f"/v1/batches/{batch.id}/retry")
    assert sdk.batches.retrieve(batch.id).status == "in_progress"


def test_acts_go_on_while_no_file_can_be_looked_at(
    sdk: openai.OpenAI, look: Any, alice: Caller, parts: Services, hand: Hand, redis: Redis
) -> None:
    batch = send(alice, ndjson({"prompt": "a fox"})).json["id"]  # type: ignore[index]
    by_file = ask(sdk, lines({"prompt": "a fox, by whichever model"}))
    # no worker has said what it renders
    parts.ledger.worker_gone(hand.name, POOL)
    redis.delete(f"{parts.settings.redis.prefix}:offered:{POOL}")
    parts.ledger.begin_act("act_1", "alice", batch, ActKind.PAUSE)
    with pytest.raises(NoWorkerYet):
        look()
    [act] = parts.ledger.acts([batch])[0]
    assert (act.over, act.changed) == (True, 1)
    assert sdk.batches.retrieve(by_file.id).status == "validating"


def test_a_tenant_with_many_files_delays_its_own(sdk: openai.OpenAI, look: Any, app: Flask, bob: Caller) -> None:
    many = [ask(sdk, lines(VIDEO_BODY)) for _ in range(12)]
    with served(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=bob.key, max_retries=0) as other:
        last = ask(other, lines(VIDEO_BODY))
        look()
        assert other.batches.retrieve(last.id).status == "in_progress"
    assert [sdk.batches.retrieve(one.id).status for one in many].count("validating") == 3
    look()
    assert {sdk.batches.retrieve(one.id).status for one in many} == {"in_progress"}


def test_a_file_that_breaks_the_look_holds_nobody_else_back(
    sdk: openai.OpenAI, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = ask(sdk, lines({**VIDEO_BODY, "prompt": "breaks it"})), ask(sdk, lines(VIDEO_BODY))
    looked = RequestFile._draft

    def draft(file: RequestFile, body: dict[str, Any]) -> Any:
        if body["prompt"] == "breaks it":
            raise ZeroDivisionError
        return looked(file, body)

    monkeypatch.setattr(RequestFile, "_draft", draft)
    look()
    failed = sdk.batches.retrieve(broken.id)
    assert (failed.status, [one.code for one in failed.errors.data]) == ("failed", ["internal_error"])
    assert sdk.batches.retrieve(good.id).status == "in_progress"


def failures(sdk: openai.OpenAI, batch: Any) -> list[tuple[str, str]]:
    told = [json.loads(line) for line in sdk.files.content(batch.error_file_id).text.splitlines()]
    return [(line["custom_id"], line["error"]["code"]) for line in told]


def test_finalizing_while_the_last_results_are_stored(sdk: openai.OpenAI, look: Any, hand: Hand) -> None:
    batch = ask(sdk, lines(VIDEO_BODY, VIDEO_BODY))
    look()
    first, last = hand.claim(), hand.claim()
    hand.ledger.heartbeat(last.job.id, last.attempt, phase=Phase.UPLOADING, progress=0.99)
    assert sdk.batches.retrieve(batch.id).status == "in_progress"
    hand.finish(first)
    left = sdk.batches.retrieve(batch.id)
    assert (left.status, left.finalizing_at is not None, left.completed_at) == ("finalizing", True, None)
    hand.finish(last)
    assert sdk.batches.retrieve(batch.id).status == "completed"


def test_cancelling_until_the_last_worker_stops(sdk: openai.OpenAI, look: Any, hand: Hand) -> None:
    batch = ask(sdk, lines(VIDEO_BODY, VIDEO_BODY, VIDEO_BODY))
    look()
    hand.finish(hand.claim())
    claim = hand.claim()
    stopped = sdk.batches.cancel(batch.id)
    assert (stopped.status, stopped.cancelling_at is not None, stopped.cancelled_at) == ("cancelling", True, None)
    hand.ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.CANCELLED, "asked to"))
    over = sdk.batches.retrieve(batch.id)
    assert (over.status, over.cancelled_at is not None, over.request_counts.completed) == ("cancelled", True, 1)
    assert failures(sdk, over) == [("shot-2", "batch_cancelled"), ("shot-3", "batch_cancelled")]


def window_passes(parts: Services, redis: Redis, batch_id: str) -> None:
    """As if the clocks had gone on for a day and an hour: what was stored of the batch as a time moves back."""
    seconds, prefix = 25 * 3600, parts.settings.redis.prefix
    key = f"{prefix}:batch-asked:{batch_id}"
    asked = json.loads(redis.get(key))
    redis.set(key, json.dumps(asked | {name: asked[name] - seconds for name in ("created_s", "expires_s")}))
    for job_id in parts.ledger.ids("alice", batch=batch_id, limit=10):
        for name in ("expires_ms", "rises_ms"):
            redis.hincrby(f"{prefix}:job:{job_id}", name, -1000 * seconds)
        redis.zadd(f"{prefix}:due", {job_id: 0}, xx=True)


def test_expired_when_its_window_is_over(
    sdk: openai.OpenAI, look: Any, hand: Hand, parts: Services, redis: Redis
) -> None:
    batch = ask(sdk, lines(VIDEO_BODY, VIDEO_BODY, VIDEO_BODY))
    look()
    hand.finish(hand.claim())
    claim = hand.claim()
    unseen = ask(sdk, lines(VIDEO_BODY))
    for one in (batch, unseen):
        window_passes(parts, redis, one.id)
    parts.ledger.reap()
    # what runs is stopped
    hand.ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.CANCELLED, "asked to"))
    over = sdk.batches.retrieve(batch.id)
    assert (over.status, over.expired_at is not None, over.request_counts.completed) == ("expired", True, 1)
    assert failures(sdk, over) == [("shot-2", "batch_expired"), ("shot-3", "batch_expired")]
    # one that nobody looked at in all that time is not begun
    look()
    assert sdk.batches.retrieve(unseen.id).status == "expired"
    assert parts.ledger.batch("alice", unseen.id) is None


def test_files_are_kept_listed_read_and_removed(sdk: openai.OpenAI, bob: Caller) -> None:
    data = lines(VIDEO_BODY)
    file = sdk.files.create(file=("shots.jsonl", data), purpose="batch")
    assert (file.bytes, file.filename, file.purpose) == (len(data), "shots.jsonl", "batch")
    assert sdk.files.retrieve(file.id).id == file.id
    assert sdk.files.content(file.id).content == data
    assert [one.id for one in sdk.files.list()] == [file.id]
    assert bob.get(f"/v1/files/{file.id}").status_code == 404
    assert sdk.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(file.id)


def test_what_cannot_be_done_is_refused(sdk: openai.OpenAI) -> None:
    file = sdk.files.create(file=("shots.jsonl", lines(VIDEO_BODY)), purpose="batch")
    wrong: list[tuple[type[openai.APIStatusError], dict[str, Any]]] = [
        (openai.NotFoundError, {"input_file_id": "file-none"}),
        (openai.BadRequestError, {"endpoint": "/v1/chat/completions"}),
        (openai.BadRequestError, {"completion_window": "soon"}),
        (openai.BadRequestError, {"completion_window": "0h"}),
        (openai.BadRequestError, {"metadata": {"scene": 4}}),
        (openai.BadRequestError, {"metadata": {"scene": "x" * 513}}),
        (openai.BadRequestError, {"metadata": {"x" * 65: "4"}}),
    ]
    for kind, change in wrong:
        given: dict[str, Any] = {
            "input_file_id": file.id,
            "endpoint": "/v1/videos",
            "completion_window": "24h",
        } | change
        # in OpenAI's words, which the SDK reads
        with pytest.raises(kind) as caught:
            sdk.batches.create(**given)
        assert caught.value.type == "invalid_request_error"
        assert (caught.value.param or "input_file_id").partition(".")[0] == next(iter(change))
    with pytest.raises(openai.BadRequestError):
        sdk.files.create(file=("shots.jsonl", b"x"), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError):
        sdk.files.list(limit=-1)
    with pytest.raises(openai.APIStatusError):
        sdk.batches.list(after="batch_none")


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"tier": "normal"}, "body.tier"),
        ({"deadline": "2096-01-01T00:00:00Z"}, "body.deadline"),
        ({"tier": "economy"}, None),
    ],
)
def test_a_request_that_asks_for_another_tier_or_a_later_end(
    sdk: openai.OpenAI, look: Any, asked: dict[str, Any], param: str | None
) -> None:
    job = {"model": TINY, "prompt": "a fox", "width": 128, "height": 128, "frames": 9, "steps": 2}
    batch = ask(sdk, lines({**job, **asked}, url="/v1/jobs"), "/v1/jobs")
    look()
    found = sdk.batches.retrieve(batch.id)
    assert [one.param for one in (found.errors.data if found.errors else [])] == ([param] if param else [])


def test_what_is_no_request_is_told_in_words_of_requests(sdk: openai.OpenAI, look: Any) -> None:
    batch = ask(sdk, b'["a fox"]\n')
    look()
    [fault] = sdk.batches.retrieve(batch.id).errors.data
    assert (fault.line, "a request is a JSON object" in fault.message) == (1, True)
