"""What is done with a whole batch through the API: acts, results, the zip."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from flask import Flask
from redis import Redis

from api.services import Services
from farm.batches.acts import work
from farm.claiming.permits import Permits
from farm.io_worker.batch_keeper import keeper_of
from farm.jobs.errors import Unauthorized
from farm.jobs.states import HoldReason
from farm.storage.object_keys import result_key
from tests.api.api_parts import VIDEO, Caller, Hand
from tests.api.batch_api_parts import ndjson, send
from tests.api.gateway_thread import served
from tests.conftest import wait_until


def made(caller: Caller, *shots: dict[str, Any], **asked: Any) -> dict[str, Any]:
    answer = send(caller, ndjson(*shots), **asked)
    assert answer.status_code == 201, answer.text
    assert answer.json is not None
    return answer.json  # type: ignore[no-any-return]


def act(caller: Caller, parts: Services, path: str, kind: str, **body: Any) -> dict[str, Any]:
    """The batch when the act is over: on a busy machine the io worker goes on with it."""
    answer = caller.post(f"{path}/{kind}", json=body)
    assert answer.status_code in (200, 202), answer.text
    for act_id in parts.ledger.acts_open():
        while not work(parts.ledger, parts.permits, act_id, seconds=1.0):
            pass
    batch = caller.get(path).json
    assert batch is not None
    assert [one["over"] for one in batch["acts"][:1]] == [True]
    return batch  # type: ignore[no-any-return]


class TestActs:
    def test_a_batch_is_paused_resumed_and_cancelled(self, alice: Caller, hand: Hand, parts: Services) -> None:
        path = f"/v1/batches/{made(alice, {'prompt': 'a'}, {'prompt': 'b'})['id']}"
        paused = act(alice, parts, path, "pause")
        assert [(one["kind"], one["changed"]) for one in paused["acts"]] == [("pause", 2)]
        assert hand.ledger.claim("default", "hand") is None
        act(alice, parts, path, "resume")
        hand.finish(hand.claim())
        ended = act(alice, parts, path, "cancel")
        assert (ended["state"], ended["progress"]) == ("ended", 1.0)
        assert (ended["counts"]["succeeded"], ended["counts"]["cancelled"]) == (1, 1)

    def test_samples_are_approved_and_priorities_changed(self, alice: Caller, parts: Services) -> None:
        batch = made(alice, {"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}, hold_after=1)
        path = f"/v1/batches/{batch['id']}"
        assert act(alice, parts, path, "approve")["acts"][0]["changed"] == 2
        assert alice.post(f"{path}/priority").status_code == 422
        assert alice.post(f"{path}/priority", json={"priority": 12}).status_code == 422
        act(alice, parts, path, "priority", priority=8, state="queued")
        jobs = alice.get(f"{path}/jobs").json["data"]  # type: ignore[index]
        assert [(job["priority"], job["held_for"]) for job in jobs] == [(8, [])] * 3

    def test_what_an_act_can_never_change_is_refused(self, alice: Caller) -> None:
        path = f"/v1/batches/{made(alice, {'prompt': 'a'})['id']}"
        for kind, body, field in (
            ("cancel", {"state": "failed"}, "state"),
            ("pause", {"error_code": "engine_died"}, "error_code"),
            ("retry", {"state": "queued"}, "state"),
        ):
            refused = alice.post(f"{path}/{kind}", json=body)
            assert (refused.status_code, refused.json["field"]) == (422, field)  # type: ignore[index]
        assert alice.get(path).json["acts"] == []  # type: ignore[index]

    def test_a_batch_counts_what_holds_its_jobs(
        self, alice: Caller, parts: Services, caller: Callable[..., Caller]
    ) -> None:
        shots = [{"prompt": "a", "id": "a"}, {"prompt": "b", "after": ["a"]}, {"prompt": "c"}]
        path = f"/v1/batches/{made(alice, *shots, hold_after=2)['id']}"

        def held() -> Any:
            return alice.get(path).json["held_for"]  # type: ignore[index]

        assert held() == {"approval": 1, "dependency": 1}
        act(alice, parts, path, "pause")
        assert held() == {"paused": 3, "approval": 1, "dependency": 1}
        act(alice, parts, path, "resume")
        act(alice, parts, path, "approve")
        assert held() == {"dependency": 1}
        assert alice.get(path).json["finish_at"] is not None  # type: ignore[index]
        # when one of them may start nobody knows; that the last one may is not enough
        first = [alice.get(f"{path}/jobs").json["data"][0]["id"]]  # type: ignore[index]
        parts.ledger.hold(first, HoldReason.PAUSED)
        assert alice.get(path).json["finish_at"] is None  # type: ignore[index]
        parts.ledger.release_held(first, HoldReason.PAUSED)
        caller("house", role="operator").post(
            "/v1/admin/pause", json={"kind": "pool", "name": "default", "why": "a test"}
        )
        assert alice.get(path).json["finish_at"] is None  # type: ignore[index]
        act(alice, parts, path, "cancel")
        assert held() == {}
        assert parts.ledger.audit().drift == {}

    def test_all_that_follows_a_cancelled_shot_ends_at_once(self, alice: Caller, parts: Services, redis: Redis) -> None:
        shots: list[dict[str, Any]] = [{"prompt": "a", "id": "a"}]
        shots += [{"prompt": f"b{n}", "id": f"b{n}", "after": [f"b{n - 1}" if n else "a"]} for n in range(200)]
        shots += [{"prompt": f"c{n}", "after": ["a"]} for n in range(200)]
        path = f"/v1/batches/{made(alice, *shots)['id']}"
        first = alice.get(f"{path}/jobs?limit=1").json["data"][0]["id"]  # type: ignore[index]
        alice.post(f"/v1/jobs/{first}/cancel")
        keeper = keeper_of(parts.settings, redis, parts.ledger, parts.store, Permits(parts.settings))
        # one look works for a second; a busy machine may need several
        wait_until(lambda: keeper.look() or alice.get(path).json["state"] == "ended")  # type: ignore[index]
        assert alice.get(path).json["counts"]["failed"] == 400  # type: ignore[index]

    def test_what_is_written_while_it_is_sent_has_no_size_beforehand(self, alice: Caller, parts: Services) -> None:
        path = f"/v1/batches/{made(alice, {'prompt': 'a'})['id']}"
        for name in ("results", "results.zip"):
            answer = alice.ask("HEAD", f"{path}/{name}")
            assert (answer.status_code, answer.headers.get("Content-Length")) == (200, None)
        assert parts.downloads.busy == 0

    def test_a_download_breaks_off_when_its_key_is_revoked(self, alice: Caller, hand: Hand, parts: Services) -> None:
        path = f"/v1/batches/{made(alice, *({'prompt': word} for word in 'abc'))['id']}"
        for _ in range(3):
            hand.finish(hand.claim())
        under_way = [alice.get(f"{path}/{name}").iter_encoded() for name in ("results", "results.zip")]
        assert all(next(blocks) for blocks in under_way)
        keys = parts.tenants.api_keys
        for key in keys.of(alice.tenant):
            keys.revoke(key.id)
        for blocks in under_way:
            with pytest.raises(Unauthorized):
                list(blocks)

    def test_another_tenant_does_nothing(self, alice: Caller, bob: Caller) -> None:
        path = f"/v1/batches/{made(alice, {'prompt': 'a'})['id']}"
        for word in ("cancel", "pause", "resume", "approve", "retry"):
            assert bob.post(f"{path}/{word}").status_code == 404
        assert bob.get(f"{path}/results").status_code == 404
        assert bob.get(f"{path}/results.zip").status_code == 404
        # what is no id gets into no header
        assert bob.get("/v1/batches/%0A/results.zip").status_code == 404


class TestEvents:
    def test_one_job_is_followed_and_the_tenant_hears_of_the_batch(
        self, app: Flask, alice: Caller, hand: Hand, parts: Services
    ) -> None:
        batch = made(alice, {"prompt": "a"}, {"prompt": "b"})
        claim = hand.claim()
        hand.progress(claim, 1, 2)
        hand.finish(claim)
        seen = parts.ledger.events(parts.ledger.stream_of(claim.job), after="0", job_id=claim.job.id)
        told = alice.get(f"/v1/jobs/{claim.job.id}/events", headers={"Last-Event-ID": "0-1"}).text
        assert len(seen) == 3
        assert told.count("event: ") == len(seen)
        assert '"state":"succeeded"' in told
        for event in parts.ledger.events("alice", after="0"):
            assert event.data["batch"] == batch["id"]


class TestResults:
    def test_one_list_and_one_zip_of_all_that_is_there(self, alice: Caller, hand: Hand) -> None:
        batch = made(alice, {"prompt": "a", "id": "狐/1"}, {"prompt": "b"}, {"prompt": "c", "takes": 2})
        for _ in range(3):
            hand.finish(hand.claim())
        lines = [json.loads(line) for line in alice.get(f"/v1/batches/{batch['id']}/results").text.splitlines()]
        assert [(line["line"], line["state"], "video_url" in line) for line in lines] == [
            (1, "succeeded", True),
            (2, "succeeded", True),
            (3, "succeeded", True),
            (3, "queued", False),
        ]
        assert httpx.get(lines[0]["video_url"]).content == VIDEO
        with zipfile.ZipFile(io.BytesIO(alice.get(f"/v1/batches/{batch['id']}/results.zip").data)) as archive:
            assert archive.testzip() is None
            names = archive.namelist()
            assert names == ["000001-狐-1.mp4", "000002.mp4", "000003-take1.mp4", "results.ndjson"]
            assert archive.read(names[0]) == VIDEO
            assert len(archive.read("results.ndjson").splitlines()) == 4

    def test_a_list_names_no_file_that_is_not_in_the_zip(self, alice: Caller, hand: Hand, parts: Services) -> None:
        batch = made(alice, {"prompt": "a"}, {"prompt": "b"})
        claims = [hand.claim(), hand.claim()]
        for claim in claims:
            hand.finish(claim)
        parts.store.delete(result_key(alice.tenant, claims[0].job.id, claims[0].attempt, "video.mp4"))
        with zipfile.ZipFile(io.BytesIO(alice.get(f"/v1/batches/{batch['id']}/results.zip").data)) as archive:
            told = [json.loads(line) for line in archive.read("results.ndjson").splitlines()]
            assert {one.get("file") for one in told} == {*archive.namelist(), None} - {"results.ndjson"}

    def test_a_client_that_hangs_up_frees_everything(
        self, app: Flask, alice: Caller, hand: Hand, parts: Services
    ) -> None:
        batch = made(alice, *({"prompt": f"shot {n}"} for n in range(3)))
        large = b"x" * (24 << 20)
        for _ in range(3):
            claim = hand.claim()
            hand.finish(claim)
            job = parts.ledger.find(claim.job.id)
            assert job is not None
            assert job.artifacts is not None
            parts.store.put_bytes(job.artifacts.video, large, "video/mp4")
        with served(app) as url:
            headers = {"Authorization": f"Bearer {alice.key}"}
            # one tenant may have half of the places
            for _ in range(parts.settings.gateway.max_downloads):
                with httpx.stream("GET", f"{url}/v1/batches/{batch['id']}/results.zip", headers=headers) as answer:
                    assert answer.status_code == 200
                    next(answer.iter_raw())
                wait_until(lambda: not parts.downloads.busy, what="the place of a client that hung up")
