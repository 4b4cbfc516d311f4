"""Any bytes on any route of a provider's dialect: that dialect's envelope, never a 5xx, never a stack trace."""

import copy
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from dialect_parts import APIXO, CRUN, KIE, OPENAI, SLUG, WIRO, Worker, keys
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.api_parts import Caller

Make = Callable[..., Caller]
ENVELOPES = {
    "kie": keys("code", "msg", "message", "data"),
    "apixo": keys("code", "message", "data"),
    "crun": keys("code", "message"),
    "wiro": keys("result", "errors"),
    "openai": keys("error"),
}
CLIENTS = {c.name: c for c in (KIE, APIXO, CRUN, WIRO, OPENAI)}

odd = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        ["", "480P", "NaN", "\x00", "\ud800", "http://[", "data:;base64,AA", "٣", "-0", "1e999", "{", "[", "{}"]
    )
    | st.lists(st.text(max_size=5), max_size=2)
    | st.dictionaries(st.text(max_size=4), st.integers(), max_size=2)
)
segments = st.text(st.characters(exclude_categories=["Cs"]), max_size=10) | st.sampled_from(
    ["..", "a/b", SLUG, "0" * 39]
)


@st.composite
def bent(draw: st.DrawFn, body: Any) -> bytes:
    """A good body with one or two values put wrong, a form of it, or just bytes."""
    kind = draw(st.sampled_from(["bend", "bend", "bend", "add", "bytes"]))
    if kind == "bytes":
        return draw(st.binary(max_size=200))
    value = copy.deepcopy(dict(body))
    for _ in range(draw(st.integers(1, 2))):
        place = value
        while True:
            name = draw(
                st.sampled_from([*place, "id", "taskid", "tasktoken", "url", "file", "limit", "start", "order"])
            )
            if isinstance(place.get(name), dict) and draw(st.booleans()):
                place = place[name]
                continue
            place[name] = draw(odd)
            break
    return json.dumps(value).encode()


@pytest.mark.parametrize("name", list(CLIENTS))
@pytest.mark.parametrize("examples", [15, pytest.param(1200, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_any_bytes_get_the_dialects_own_envelope(
    name: str, app: Flask, caller: Make, worker: Worker, examples: int
) -> None:
    client, alice, envelope = CLIENTS[name], caller("alice"), ENVELOPES[name]
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.split(".")[0] == name and not rule.websocket]
    assert rules
    addresses = sorted((m, r.rule) for r in rules for m in (r.methods or set()) - {"HEAD", "OPTIONS"})
    labels = ["application/json", "", "multipart/form-data", "multipart/form-data; boundary=x", "text/plain",
              "application/x-www-form-urlencoded"]  # fmt: skip
    queries = st.dictionaries(
        st.sampled_from(["taskId", "task_id", "limit", "after", "order", "variant"]), st.text(max_size=9)
    )

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(addresses), segments, bent(client.body), st.sampled_from(labels), queries)
    def ask(address: tuple[str, str], segment: str, body: bytes, label: str, query: dict[str, str]) -> None:
        method, rule = address
        path = rule
        for part in ("<path:model>", "<video_id>"):
            path = path.replace(part, quote(segment, safe="/%"))
        answer = alice.client.open(
            path, method=method, data=body, content_type=label or None, query_string=query,
            headers={"Authorization": f"Bearer {alice.key}", "x-api-key": alice.key},
        )  # fmt: skip
        assert answer.status_code < 500, (path, answer.text)
        assert "Traceback" not in answer.text
        told = client.error(answer.status_code, answer.json, answer.headers)
        if told is not None or answer.status_code >= 400:
            assert envelope(answer.json), (path, answer.text)

    ask()


def test_addresses_that_are_nobodys_answer_in_the_dialect_of_their_beginning(caller: Make) -> None:
    alice = caller("alice")
    for path, name in (("/api/v1/client/x", "crun"), ("/api/v1/jobs/x", "kie"), ("/api/v1/generateTask", "apixo"),
                       ("/v1/Task/x", "wiro"), ("/v1/videos/a/b/c", "openai")):  # fmt: skip
        for method in ("GET", "POST", "PATCH"):
            answer = alice.client.open(path, method=method, headers={"x-api-key": alice.key})
            assert answer.status_code < 500
            assert ENVELOPES[name](answer.json), (path, answer.text)
