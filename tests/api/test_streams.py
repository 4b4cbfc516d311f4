"""What an event stream does when nothing happens, and when what happened was trimmed away."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from werkzeug.test import TestResponse

import api.own.events
import api.streams
from farm.config import Settings
from farm.jobs.errors import Unavailable
from tests.api.api_parts import Caller, Hand


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life is due at every look."""
    monkeypatch.setattr(api.streams, "KEEPALIVE_S", 0.0)
    monkeypatch.setattr(api.own.events, "LOOK_MS", 10)


def test_a_silent_stream_shows_that_it_lives(alice: Caller) -> None:
    answer = alice.get(f"/v1/jobs/{alice.submit()['id']}/events")
    frames = answer.iter_encoded()
    assert next(frames).startswith(b"id: ")
    assert [next(frames), next(frames)] == [b": alive\n\n"] * 2
    answer.close()


def test_an_end_that_was_trimmed_away_is_told_all_the_same(alice: Caller, hand: Hand, redis: Redis) -> None:
    job_id = alice.submit()["id"]
    answer = alice.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "0-0"})
    hand.finish(hand.claim())
    redis.delete("wf:events:alice")
    *_, last = answer.iter_encoded()
    assert b"event: snapshot" in last
    assert b'"state":"succeeded"' in last


def frames_of(answer: TestResponse, count: int) -> list[tuple[str, dict[str, Any]]]:
    """(event, data) of the first `count` frames that are no sign of life; ends the stream."""
    found = []
    for raw in answer.iter_encoded():
        fields = dict(line.split(": ", 1) for line in raw.decode().splitlines() if line[:1] not in ("", ":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
        if len(found) == count:
            break
    answer.close()
    return found


def first_event(caller: Caller, redis: Redis) -> str:
    return str(redis.xrange(f"wf:events:{caller.tenant}", count=1)[0][0])


def test_who_comes_back_after_the_trimming_gets_a_snapshot_and_what_follows(
    alice: Caller, hand: Hand, redis: Redis
) -> None:
    over, running = alice.submit()["id"], alice.submit()["id"]
    seen = {"Last-Event-ID": first_event(alice, redis)}
    hand.finish(hand.claim())
    claim = hand.claim()
    redis.xtrim("wf:events:alice", maxlen=1, approximate=False)

    [(kind, job)] = frames_of(alice.get(f"/v1/jobs/{over}/events", headers=seen), 1)
    assert (kind, job["state"]) == ("snapshot", "succeeded")
    answer = alice.get(f"/v1/jobs/{running}/events", headers=seen)
    hand.finish(claim)
    told = frames_of(answer, 2)
    assert [(kind, data["state"]) for kind, data in told] == [("snapshot", "running"), ("state", "succeeded")]

    waiting = alice.submit()["id"]
    answer = alice.get("/v1/events", headers=seen)
    (ready, _), (kind, shown) = frames_of(answer, 2)
    assert (ready, kind) == ("ready", "snapshot")
    assert [job["id"] for job in shown["data"]] == [waiting]  # the others are over


def test_who_missed_nothing_gets_no_snapshot(alice: Caller, hand: Hand, redis: Redis) -> None:
    job_id = alice.submit()["id"]
    first = first_event(alice, redis)
    alice.submit()
    told = frames_of(alice.get("/v1/events", headers={"Last-Event-ID": first}), 2)
    assert [kind for kind, _ in told] == ["ready", "state"]
    # the oldest that is kept was seen: what was trimmed before it is no loss
    redis.xtrim("wf:events:alice", maxlen=1, approximate=False)
    newest = first_event(alice, redis)
    hand.claim()
    told = frames_of(alice.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": newest}), 1)
    assert [kind for kind, _ in told] == ["progress"]


def test_an_id_of_a_ledger_that_was_lost_is_answered_with_a_snapshot(alice: Caller, redis: Redis) -> None:
    job_id = alice.submit()["id"]
    later = {"Last-Event-ID": "99999999999999-0"}
    assert frames_of(alice.get(f"/v1/jobs/{job_id}/events", headers=later), 1)[0][0] == "snapshot"
    redis.delete("wf:events:alice")
    assert frames_of(alice.get("/v1/events", headers=later), 2)[1][0] == "snapshot"


def test_one_tenant_does_not_take_every_stream(settings: Settings, caller: Callable[..., Caller], app: Flask) -> None:
    each = settings.gateway.max_streams_each
    alice, bob = caller("alice"), caller("bob")
    held = [alice.get("/v1/events") for _ in range(each)]
    refused = alice.get("/v1/events")
    assert refused.status_code == 429
    assert "Retry-After" in refused.headers
    answer = bob.get("/v1/events")
    assert answer.status_code == 200
    for one in (answer, *reversed(held)):
        one.close()
    # given back
    again = alice.get("/v1/events")
    assert again.status_code == 200
    again.close()


def test_a_stream_ends_when_the_ledger_goes_away(alice: Caller, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = alice.get("/v1/events")
    frames = answer.iter_encoded()
    assert b"event: ready" in next(frames)

    def away(*_: object, **__: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(hand.ledger, "events", away)
    assert list(frames) == []
