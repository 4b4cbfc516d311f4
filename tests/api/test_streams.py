"""What an event stream does when nothing happens, and when what happened was trimmed away."""

import pytest
from redis import Redis

import api.own.events
import api.streams
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


def test_a_stream_ends_when_the_ledger_goes_away(alice: Caller, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = alice.get("/v1/events")
    frames = answer.iter_encoded()
    assert b"event: ready" in next(frames)

    def away(*_: object, **__: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(hand.ledger, "events", away)
    assert list(frames) == []
