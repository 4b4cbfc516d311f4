"""The operator's hands over HTTP, by key; what a job's owner is told of tiers and of why it waits."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from api.services import Services
from farm.config import ProviderSettings
from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import BURST_POOL, INTAKE_POOL, OperationOutcome
from models.catalog import MODELS
from tests.api.api_parts import TINY, Caller, Hand
from tests.api.batch_api_parts import ndjson, send


def test_an_operator_pauses_grants_urgent_and_requeues_and_the_log_tells_all(
    alice: Caller, caller: Callable[..., Caller], parts: Services
) -> None:
    operator = caller("house", role="operator")
    job_id = alice.submit()["id"]
    acts = [
        ("/v1/admin/pause", {"kind": "tenant", "name": alice.tenant, "why": "unpaid"}),
        ("/v1/admin/resume", {"kind": "tenant", "name": alice.tenant, "why": "paid"}),
        (f"/v1/admin/jobs/{job_id}/tier", {"tier": "urgent", "why": "the client waits"}),
        (f"/v1/admin/jobs/{job_id}/requeue", {"why": "a try"}),
    ]
    for path, body in acts:
        assert alice.post(path, json=body).status_code == 403
        assert operator.post(path, json={**body, "why": " "}).status_code == 422
    assert operator.get("/v1/admin/operations").json["data"] == []
    changed = []
    for path, body in acts:
        if path.endswith("resume"):
            assert [one["name"] for one in operator.get("/v1/admin/pauses").json["data"]] == [alice.tenant]
            assert alice.get(f"/v1/jobs/{job_id}/explain").json["binds"] == "tenant_paused"
        told = operator.post(path, json=body)
        assert told.status_code == 200, told.text
        changed.append(told.json["changed"])
    assert changed == [True, True, True, False]
    assert alice.get(f"/v1/jobs/{job_id}").json["tier"] == "urgent"
    log = operator.get("/v1/admin/operations?limit=2").json
    assert [(one["act"], one["why"], one["before"], one["after"]) for one in log["data"]] == [
        ("requeue", "a try", "queued", "queued"),
        ("tier", "the client waits", "normal", "urgent"),
    ]
    assert all(one["who"].endswith("of house") for one in log["data"])
    rest = operator.get(f"/v1/admin/operations?cursor={log['next_cursor']}").json
    assert [one["act"] for one in rest["data"]] == ["resume", "pause"]
    assert rest["next_cursor"] is None
    for kind in ("tenant", "pool", "lane", "worker", "provider"):
        assert operator.post("/v1/admin/pause", json={"kind": kind, "name": "none", "why": "x"}).status_code == 404
    seller = {"dialect": "kie", "base_url": "https://kie.example", "keys": {"main": {"env": "KIE_KEY"}}}
    parts.settings.providers["kie"] = ProviderSettings.model_validate(seller)
    assert operator.post("/v1/admin/pause", json={"kind": "provider", "name": "kie", "why": "x"}).status_code == 200
    assert [one["name"] for one in operator.get("/v1/admin/pauses").json["data"]] == ["kie"]
    assert alice.get("/v1/admin/operations").status_code == alice.get("/v1/admin/pauses").status_code == 403


def test_an_operator_reads_why_jobs_were_bought_or_not(
    alice: Caller, caller: Callable[..., Caller], parts: Services
) -> None:
    operator = caller("house", role="operator")
    job_id = alice.submit()["id"]
    for verdict, why in (("waits", "no money"), ("bought", "it waits for too long")):
        parts.ledger.note_decision(
            job_id, {"verdict": verdict, "why": why, "numbers": {"gain_s": 7.5, "start_s": None}}
        )
    first = operator.get("/v1/admin/decisions?limit=1").json
    [newest] = first["data"]
    assert (newest["job"], newest["tenant"], newest["verdict"]) == (job_id, alice.tenant, "bought")
    assert newest["numbers"] == {"gain_s": 7.5, "start_s": None}
    rest = operator.get(f"/v1/admin/decisions?cursor={first['next_cursor']}").json
    assert [one["why"] for one in rest["data"]] == ["no money"]
    assert rest["next_cursor"] is None
    assert alice.get("/v1/admin/decisions").status_code == 403


def test_a_tier_and_a_start_by_time_are_asked_for_and_shown(alice: Caller, caller: Callable[..., Caller]) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)
    job = alice.submit(tier="economy", start_by=soon.isoformat())
    assert (job["tier"], datetime.fromisoformat(job["start_by"])) == ("economy", soon)
    assert job["expires_at"] == job["deadline"] is not None
    refused = alice.post("/v1/jobs", json={"prompt": "a fox", "tier": "urgent"})
    assert refused.status_code == 422
    assert "tier" in refused.text
    past = alice.post("/v1/jobs", json={"prompt": "a fox", "start_by": "2020-01-01T00:00:00Z"})
    assert past.status_code == 422
    assert "start_by" in past.text
    stranger = caller("stranger")
    assert stranger.get(f"/v1/jobs/{job['id']}/explain").status_code == 404


@pytest.mark.parametrize(
    ("kind", "name"), [("tenant", "alice"), ("pool", "default"), ("lane", MODELS[TINY].lane), ("lane", TINY)]
)
def test_a_job_that_an_operator_keeps_says_so_wherever_it_is_shown(
    alice: Caller, caller: Callable[..., Caller], kind: str, name: str
) -> None:
    operator = caller("house", role="operator")
    path = f"/v1/jobs/{alice.submit()['id']}"
    asked = {"kind": kind, "name": name, "why": "a test"}
    assert operator.post("/v1/admin/pause", json=asked).status_code == 200
    shown = [alice.get(path).json, *alice.get("/v1/jobs").json["data"], alice.submit()]
    assert [(one["state"], one["held_for"], one["eta_s"]) for one in shown] == [("queued", ["paused"], None)] * 3
    # a pause of the owner's own is told once
    told = alice.get(f"{path}/explain").json
    assert (told["binds"], told["forecast"]) == (f"{kind}_paused", None)
    assert operator.post("/v1/admin/resume", json=asked).status_code == 200
    assert alice.get(path).json["held_for"] == []


def test_an_explanation_names_the_cap_and_the_jobs_that_are_waited_for(
    alice: Caller, parts: Services, hand: Hand
) -> None:
    first, second = alice.submit(), alice.submit()
    parts.tenants.set(alice.tenant, max_running=1)
    hand.claim()
    told = alice.get(f"/v1/jobs/{second['id']}/explain").json
    rule = "at most 1 of your jobs may be at work at once; a bought one does not count"
    assert (told["binds"], told["rule"]) == ("cap", rule)
    assert alice.get(f"/v1/jobs/{first['id']}/explain").json["rule"] == "it is at work"
    shots = [{"prompt": "a", "id": "a"}, {"prompt": "b", "start_from": "last frame of a"}, {"prompt": "c"}]
    made = send(alice, ndjson(*shots), hold_after=2)
    batch = made.json["id"]
    jobs = alice.get(f"/v1/batches/{batch}/jobs").json["data"]
    follows, held = (alice.get(f"/v1/jobs/{jobs[n]['id']}/explain").json for n in (1, 2))
    assert (follows["pool"], follows["running"], follows["capacity"]) == (held["pool"], 1, held["capacity"])
    assert (follows["binds"], follows["rule"]) == ("held", f"it follows {jobs[0]['id']}")
    assert (held["rule"], batch in held["would_change"]) == ("it is held until somebody approves it", True)
    alice.post(f"/v1/jobs/{second['id']}/cancel")
    assert alice.get(f"/v1/jobs/{second['id']}/explain").json["rule"] == "it is over: cancelled by its owner"


def test_an_explanation_names_the_job_that_a_retry_made_of_what_is_waited_for(alice: Caller, hand: Hand) -> None:
    shots = ndjson({"prompt": "a", "id": "a"}, {"prompt": "b", "after": ["a"]})
    batch = send(alice, shots).json["id"]  # type: ignore[index]
    claim = hand.claim()
    hand.ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, "no picture"))
    hand.ledger.see_to_children()
    alice.post(f"/v1/batches/{batch}/retry")
    jobs = {one["prompt"]: one["id"] for one in alice.get(f"/v1/batches/{batch}/jobs").json["data"]}  # type: ignore[index]
    told = alice.get(f"/v1/jobs/{jobs['b']}/explain").json
    assert told is not None
    assert (told["binds"], told["rule"]) == ("held", f"it follows {jobs['a']}")


def test_an_explanation_tells_gpu_seconds_and_no_other_tenant(
    alice: Caller, caller: Callable[..., Caller], parts: Services
) -> None:
    neighbour = caller("neighbour-with-a-name")
    for _ in range(3):
        neighbour.submit()
    first, second = alice.submit(), alice.submit()
    told = alice.get(f"/v1/jobs/{second['id']}/explain")
    assert "neighbour" not in told.text
    assert told.json["ahead_gpu_s"]["own"] == round(first["predicted_s"], 3)
    assert told.json["ahead_gpu_s"]["own_exact"] is True
    assert told.json["position"] == 1


def test_an_operator_locks_a_worker_moves_a_job_and_ends_one(
    alice: Caller, caller: Callable[..., Caller], parts: Services
) -> None:
    operator = caller("house", role="operator")
    job_id = alice.submit()["id"]
    parts.ledger.worker_seen("gpu-7", "spare", WorkerStatus(), ttl_s=60)
    acts = [
        ("/v1/admin/pause", {"kind": "worker", "name": "gpu-7"}, "worker gpu-7"),
        ("/v1/admin/resume", {"kind": "worker", "name": "gpu-7"}, "worker gpu-7"),
        (f"/v1/admin/jobs/{job_id}/move", {"pool": "spare"}, f"job {job_id}"),
        (f"/v1/admin/jobs/{job_id}/fail", {}, f"job {job_id}"),
    ]
    for path, body, target in acts:
        asked = {**body, "why": "a test"}
        assert alice.post(path, json=asked).status_code == 403
        assert operator.post(path, json=asked).json == {"changed": True}
        assert operator.get("/v1/admin/operations?limit=1").json["data"][0]["target"] == target
    told = alice.get(f"/v1/jobs/{job_id}").json
    assert (told["state"], told["error"]["code"]) == ("failed", "ended_by_operator")
    assert "a test" in told["error"]["message"]
    lost = {"kind": "worker", "name": "gpu-8", "why": "a test"}
    assert operator.post("/v1/admin/pause", json=lost).status_code == 404
    late = operator.post(f"/v1/admin/jobs/{job_id}/move", json={"pool": "spare", "why": "x"})
    assert (late.status_code, "nothing to change any more" in late.json["detail"]) == (409, True)


def test_what_does_not_render_is_no_pool_and_a_provider_has_to_be_there(
    alice: Caller, caller: Callable[..., Caller], parts: Services, redis: Redis
) -> None:
    operator, job_id = caller("house", role="operator"), alice.submit()["id"]
    # a job was bought, and one waited for its inputs
    redis.sadd(f"{parts.settings.redis.prefix}:pools", BURST_POOL, INTAKE_POOL)
    for pool in (BURST_POOL, INTAKE_POOL):
        moved = operator.post(f"/v1/admin/jobs/{job_id}/move", json={"pool": pool, "why": "x"})
        assert (moved.status_code, "there are default" in moved.text) == (409, True)
        assert parts.ledger.move(job_id, pool, who="x", why="x")[0] is OperationOutcome.NO_POOL
        paused = operator.post("/v1/admin/pause", json={"kind": "pool", "name": pool, "why": "x"})
        assert (paused.status_code, "there are default" in paused.text) == (404, True)
    lost = operator.post("/v1/admin/pause", json={"kind": "provider", "name": "kei", "why": "x"})
    assert (lost.status_code, "no provider 'kei'" in lost.text) == (404, True)
    assert parts.ledger.operations() == []
    assert parts.ledger.find(job_id).pool == "default"  # type: ignore[union-attr]


def test_a_locked_worker_and_a_job_that_waits_for_it_say_so(
    alice: Caller, caller: Callable[..., Caller], hand: Hand
) -> None:
    operator = caller("house", role="operator")
    hand.offer(TINY)
    job_id = alice.submit()["id"]
    assert alice.get(f"/v1/jobs/{job_id}/explain").json["capacity"] == 1
    asked = {"kind": "worker", "name": hand.name, "why": "a test"}
    assert operator.post("/v1/admin/pause", json=asked).status_code == 200
    told = alice.get(f"/v1/jobs/{job_id}/explain").json
    # nobody knows when somebody ends that
    assert (told["binds"], told["capacity"], told["forecast"]) == ("locked", 0, None)
    assert [one["locked"] for one in operator.get("/v1/workers").json["data"] if one["worker"] == hand.name] == [True]
    operator.post("/v1/admin/resume", json=asked)
    assert alice.get(f"/v1/jobs/{job_id}/explain").json["capacity"] == 1


def test_workers_are_listed_by_pages(caller: Callable[..., Caller], hand: Hand) -> None:
    operator = caller("house", role="operator")
    for n in range(3):
        hand.ledger.worker_seen(f"w{n}", "second", WorkerStatus(), ttl_s=60)
    first = operator.get("/v1/workers?limit=2").json
    assert isinstance(first, dict)
    rest = operator.get("/v1/workers", query_string={"cursor": first["next_cursor"]}).json
    assert isinstance(rest, dict)
    assert [one["worker"] for one in first["data"] + rest["data"]] == ["hand", "w0", "w1", "w2"]
    assert rest["next_cursor"] is None
    assert operator.get("/v1/workers?cursor=x").status_code == 422
