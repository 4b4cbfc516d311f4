"""Whatever comes in on whatever address, the answer is never a 5xx, and it is in the dialect of the address."""

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api import own, selfhosted
from api.app import DIALECTS
from api.dialect import dialect_of
from farm.wire.own import CreateJob
from tests.api.api_parts import Caller

_FIELDS = [*CreateJob.model_fields, "image_url", "image_base64", "unknown"]
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "480p", "16:9", "-1", "NaN", "\x00", "\ud800", "http://[", "data:;base64,", "t2v", "٣"])
)
_VALUES = st.recursive(
    _SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=8), v, max_size=3), max_leaves=6
)
_BODIES = st.one_of(
    st.binary(max_size=300),
    _VALUES.map(lambda v: json.dumps(v).encode()),
    st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=5).map(
        lambda v: json.dumps({"prompt": "p", **v}).encode()
    ),
)
_KINDS = st.sampled_from(
    ["application/json", "", "text/plain", "multipart/form-data", "application/json; charset=utf-16"]
)
_HEADERS = st.dictionaries(
    st.sampled_from(
        ["Idempotency-Key", "Prefer", "Last-Event-ID", "Accept", "Content-Encoding", "X-HTTP-Method-Override"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30),
    max_size=2,
)
_SEGMENT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["..", "%2e", "0" * 36, "-"]
)
_QUERY = st.dictionaries(
    st.sampled_from(["limit", "state", "cursor", "model", "label", "status", "x"]), st.text(max_size=12), max_size=3
)


def addresses(app: Flask) -> list[tuple[str, str]]:
    """(method, rule) of every address there is; event streams that would not end are left out."""
    found = []
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            if rule.rule != "/v1/events" and not rule.websocket:
                found.append((method, rule.rule))
    return sorted(found)


@pytest.mark.parametrize("examples", [60, pytest.param(4000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_nothing_is_a_server_error(alice: Caller, app: Flask, examples: int) -> None:
    everything = st.sampled_from(addresses(app))

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(everything, _SEGMENT, _BODIES, _KINDS, _HEADERS, _QUERY)
    def ask(
        address: tuple[str, str], segment: str, body: bytes, kind: str, headers: dict[str, str], query: Any
    ) -> None:
        method, rule = address
        path = re.sub("<[^>]*>", quote(segment, safe="/%"), rule)
        answer = alice.ask(method, path, data=body, content_type=kind or None, headers=headers, query_string=query)
        assert answer.status_code < 500 or rule == "/v1/health/ready", (path, answer.text)
        dialect = dialect_of(path, DIALECTS)
        if answer.status_code >= 400 and dialect is selfhosted.DIALECT:
            assert list(answer.json) == ["detail"]
        if answer.status_code >= 400 and dialect is own.DIALECT and list(answer.json) == ["error"]:
            # JSON asks for a batch as OpenAI's API does
            assert (rule, method, kind.partition(";")[0]) == ("/v1/batches", "POST", "application/json")
        elif answer.status_code >= 400 and dialect is own.DIALECT:
            assert answer.content_type == "application/problem+json"
            assert answer.json["status"] == answer.status_code

    ask()
