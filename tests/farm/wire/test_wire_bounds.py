"""What a body may be, in every dialect: so large, so deep, and no more of it kept than a job may keep."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from farm.jobs.draft import Draft
from farm.jobs.errors import InvalidRequest, RequestError
from farm.wire import apixo, crun, kie, openai, own, selfhosted, wiro
from farm.wire.json_body import MAX_DEPTH, MAX_KEPT_BYTES, loads
from farm.wire.words import parse_object

PAGE = "http://example.org/a.png"
_MOVE = {"prompt": "p", "img_urls": [PAGE], "video_urls": [PAGE]}
#: dialect -> (an honest body, how it is parsed)
PARSERS: Mapping[str, tuple[dict[str, Any], Callable[[dict[str, Any]], Draft]]] = {
    "kie": ({"model": "wan/2-2-a14b-text-to-video-turbo", "input": {"prompt": "p"}}, kie.parse_create),
    "openai": ({"prompt": "p"}, openai.parse_create),
    "selfhosted": ({"prompt": "p"}, selfhosted.parse_create),
    "crun": ({"model": "wan/2-2-animate-move", "input": _MOVE}, crun.parse_create),
    "wiro": (
        {"prompt": "p", "inputImageUrl": PAGE},
        lambda body: wiro.parse_create("Wan-AI/Wan2.2-I2V-A14B", body, {}),
    ),
    "apixo": (
        {
            "request_type": "async",
            "input": {"mode": "animate", "prompt": "p", "image_urls": [PAGE], "video_urls": [PAGE]},
        },
        lambda body: apixo.parse_create("wan-2-2-animate", body),
    ),
}


def nested(depth: int, kind: str) -> str:
    return "[" * depth + "]" * depth if kind == "lists" else '{"a":' * depth + "1" + "}" * depth


def parsed(dialect: str, extra: str) -> Draft:
    """The honest body with a field more, whose JSON is `extra`."""
    body, parse = PARSERS[dialect]
    text = json.dumps({**body, "extra": "@@"}).replace('"@@"', extra)
    return parse(parse_object(text.encode()))


@pytest.mark.parametrize("kind", ["lists", "objects"])
@pytest.mark.parametrize("depth", [MAX_DEPTH, 300, 600, 900, 5000])
@pytest.mark.parametrize("dialect", PARSERS)
def test_depth_is_refused_wherever_a_stack_would_end(dialect: str, depth: int, kind: str) -> None:
    with pytest.raises(RequestError):
        parsed(dialect, nested(depth, kind))


# OpenAI's takes no field that it does not read
@pytest.mark.parametrize("dialect", [name for name in PARSERS if name != "openai"])
def test_what_a_job_keeps_has_an_end(dialect: str) -> None:
    with pytest.raises(RequestError):
        parsed(dialect, json.dumps(list(range(40_000))))
    with pytest.raises(RequestError):
        parsed(dialect, json.dumps({"k" * 20_000: 1}))
    draft = parsed(dialect, json.dumps(["long " * 1000] * 10))
    assert len(json.dumps(draft.dialect_data).encode()) < MAX_KEPT_BYTES + 1024
    assert parsed(dialect, nested(MAX_DEPTH - 2, "lists"))


@pytest.mark.parametrize("dialect", PARSERS)
@pytest.mark.parametrize("word", ["1e999", "-1e999", "[1e400]", "NaN", "Infinity"])
def test_numbers_that_no_json_can_tell_are_refused(dialect: str, word: str) -> None:
    with pytest.raises(RequestError):
        parsed(dialect, word)


@pytest.mark.parametrize("unit", ["1,", "[],", "{},", '"",'])
def test_very_many_values_are_refused_before_they_are_made(unit: str) -> None:
    body = ('{"prompt": "p", "options": [' + unit * 200_000 + "1]}").encode()
    for parse, refusal in ((parse_object, InvalidRequest), (own.parse_create, own.BrokenJson)):
        with pytest.raises(refusal, match="more than 50000 values"):
            parse(body)


def test_honest_bodies_stay() -> None:
    assert loads(b'{"a": [1, 2.5, {"b": "x"}]}') == {"a": [1, 2.5, {"b": "x"}]}
    assert loads('"' + "A" * 1_000_000 + '"') == "A" * 1_000_000
