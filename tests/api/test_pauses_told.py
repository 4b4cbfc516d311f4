"""Who hears of it, and how often, when an operator pauses or resumes what queued jobs wait for."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from flask import Flask

import api.own.events
from api.console.live import changes
from api.live_changes import LivePage
from api.services import Services
from api.streams import COMMENT
from farm.client.event_stream import read_messages
from farm.jobs.job import Claim
from farm.ledger import Ledger, SwitchKind
from models.catalog import MODELS
from tests.api.api_parts import TINY, Caller, Hand
from tests.api.batch_api_parts import ndjson, send
from tests.api.gateway_thread import served

KINDS = [("tenant", "alice"), ("pool", "default"), ("lane", MODELS[TINY].lane), ("lane", TINY)]


Switch = Callable[[str, str, str], None]


class Heard:
    """An open stream of the real server."""

    def __init__(self, browser: httpx.Client, caller: Caller, path: str, seen: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {caller.key}", **({"Last-Event-ID": seen} if seen else {})}
        self._stream = browser.stream("GET", path, headers=headers)
        self._messages = read_messages(self._stream.__enter__().iter_lines())

    def next(self) -> tuple[str, dict[str, Any]]:
        """(event, data) of what is told next."""
        message = next(self._messages)
        return message.event, json.loads(message.data)

    def is_quiet(self, hand: Hand, rendering: Sequence[Claim]) -> bool:
        """Nothing is told but that two jobs of its tenant, which render, are done: pauses are looked at after each."""
        for claim in rendering:
            hand.finish(claim)
        return [self.next()[1].get("job") for _ in rendering] == [claim.job.id for claim in rendering]

    def close(self) -> None:
        self._stream.__exit__(None, None, None)


@pytest.fixture
def browser(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(api.own.events, "LOOK_MS", 50)
    with served(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def switch(caller: Callable[..., Caller]) -> Switch:
    operator = caller("house", role="operator")

    def act(what: str, kind: str, name: str) -> None:
        body = {"kind": kind, "name": name, "why": "the client has not paid"}
        assert operator.post(f"/v1/admin/{what}", json=body).json["changed"]

    return act


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_a_tenant_hears_once_of_what_its_queued_jobs_wait_for_and_nobody_else_does(
    alice: Caller, bob: Caller, hand: Hand, browser: httpx.Client, switch: Switch, kind: str, name: str
) -> None:
    for _ in range(2):
        bob.submit()
    rendering = [hand.claim() for _ in range(2)]
    batch = send(alice, ndjson(*({"prompt": f"shot {n}", "model": TINY} for n in range(30)))).json["id"]
    hers, his = Heard(browser, alice, "/v1/events"), Heard(browser, bob, "/v1/events")
    assert hers.next() == his.next() == ("ready", {})
    switch("pause", kind, name)
    event, told = hers.next()
    # what the operator wrote is in their log alone
    assert (event, {**told, "at": ""}) == ("pause", {"kind": kind, "name": name, "paused": True, "at": ""})
    shown = alice.get(f"/v1/batches/{batch}").json
    assert (shown["operator_pauses"], shown["finish_at"]) == ([{"kind": kind, "name": name, "since": told["at"]}], None)
    later = Heard(browser, alice, "/v1/events")
    assert later.next() == ("ready", {"operator_pauses": shown["operator_pauses"]})
    switch("resume", kind, name)
    for one in (hers, later):
        event, told = one.next()
        assert (event, {**told, "at": ""}) == ("pause", {"kind": kind, "name": name, "paused": False, "at": ""})
    assert alice.get(f"/v1/batches/{batch}").json["operator_pauses"] == []
    assert his.is_quiet(hand, rendering)
    for one in (hers, his, later):
        one.close()


def test_a_follower_of_one_job_hears_that_it_is_paused_also_when_it_was_away(
    alice: Caller, bob: Caller, browser: httpx.Client, switch: Switch
) -> None:
    job, other = alice.submit()["id"], bob.submit()["id"]
    path = f"/v1/jobs/{job}/events"
    hers, his = Heard(browser, alice, path), Heard(browser, bob, f"/v1/jobs/{other}/events")
    assert hers.next()[0] == his.next()[0] == "snapshot"
    switch("pause", "tenant", "alice")
    event, told = hers.next()
    paused = {"job": job, "state": "queued", "attempt": 0, "held_for": "paused"}
    assert (event, told) == ("state", {**paused, "operator_pauses": told["operator_pauses"]})
    assert [one["name"] for one in told["operator_pauses"]] == ["alice"]
    away = Heard(browser, alice, path, seen="1-0")
    assert away.next() == ("state", told)
    switch("resume", "tenant", "alice")
    assert hers.next() == ("state", {"job": job, "state": "queued", "attempt": 0})
    assert bob.post(f"/v1/jobs/{other}/cancel").status_code == 200
    assert his.next()[1]["state"] == "cancelled"
    for one in (hers, his, away):
        one.close()


def test_what_comes_into_a_paused_pool_says_so(alice: Caller, browser: httpx.Client, switch: Switch) -> None:
    switch("pause", "pool", "default")
    heard = Heard(browser, alice, "/v1/events")
    # nothing of hers waits there yet
    assert heard.next() == ("ready", {})
    job = alice.submit()["id"]
    event, told = heard.next()
    assert (event, told["job"], told["held_for"]) == ("state", job, "paused")
    assert [one["kind"] for one in told["operator_pauses"]] == ["pool"]
    switch("resume", "pool", "default")
    event, told = heard.next()
    assert (event, told["paused"]) == ("pause", False)
    heard.close()


def test_open_pages_hear_of_it_and_those_of_others_do_not(
    alice: Caller, bob: Caller, hand: Hand, parts: Services, switch: Switch
) -> None:
    def told(changed: Any, passed_over: bool, paused: bool) -> bytes:
        return changes(changed, passed_over, {}, paused=paused)

    def first(page: LivePage) -> Any:
        return next(
            json.loads(text.partition(b"data: ")[2]) for one in page.feed if (text := one.replace(COMMENT, b""))
        )

    for _ in range(2):
        bob.submit()
    rendering = [hand.claim() for _ in range(2)]
    batch = send(alice, ndjson({"prompt": "a shot", "model": TINY})).json["id"]
    streams = ("alice", f"alice!{batch}", "bob")
    pages = [LivePage(lambda: True) for _ in streams]
    for stream, page in zip(streams, pages, strict=True):
        parts.live.join(stream, told, page)
    switch("pause", "lane", TINY)
    assert [(one["paused"], one["jobs"]) for one in map(first, pages[:2])] == [(True, [])] * 2
    # his thread looks at pauses after each
    for claim in rendering:
        hand.finish(claim)
        heard = first(pages[2])
        assert ([one["id"] for one in heard["jobs"]], heard["paused"]) == ([claim.job.id], False)
    new = bob.submit()["id"]
    heard = first(pages[2])
    # his first word is of his own job, which is new although it is paused
    assert (heard["fresh"], heard["paused"]) == ([new], False)
    for stream, page in zip(streams, pages, strict=True):
        parts.live.leave(stream, page)


def test_a_lane_is_looked_for_among_all_queued_jobs_in_pieces(
    alice: Caller, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of a thousand jobs is found, by calls that look at 500 each."""
    send(alice, ndjson(*({"prompt": "x", "model": TINY} for _ in range(600))))
    other = "wan2.2-i2v-a14b-tiny"
    assert not ledger.any_queued("alice", SwitchKind.LANE, other)
    assert ledger.any_queued("alice", SwitchKind.POOL, "default")
    calls, run = [], ledger.run

    def counted(name: str, *args: Any, **more: Any) -> Any:
        calls.append(name)
        return run(name, *args, **more)

    monkeypatch.setattr(ledger, "run", counted)
    assert not ledger.any_queued("alice", SwitchKind.LANE, other)
    assert calls == ["any_queued"] * 2
