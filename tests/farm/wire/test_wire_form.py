"""Names of form fields with brackets, in the orders that SDKs, browsers and PHP write them."""

from typing import Any

import pytest

from farm.jobs.draft import Source
from farm.jobs.errors import InvalidRequest
from farm.wire import openai
from farm.wire.form import unfold


@pytest.mark.parametrize(
    ("pairs", "meant"),
    [
        ([("prompt", "a fox"), ("seed", "1")], {"prompt": "a fox", "seed": "1"}),
        ([("input_reference[image_url]", "u")], {"input_reference": {"image_url": "u"}}),
        # OpenAI's SDKs: all of one kind first
        (
            [("loras[][lora]", "a"), ("loras[][lora]", "b"), ("loras[][scale]", "1"), ("loras[][scale]", "2")],
            {"loras": [{"lora": "a", "scale": "1"}, {"lora": "b", "scale": "2"}]},
        ),
        # browsers and qs: one element after the other
        (
            [("loras[][lora]", "a"), ("loras[][scale]", "1"), ("loras[][lora]", "b"), ("loras[][scale]", "2")],
            {"loras": [{"lora": "a", "scale": "1"}, {"lora": "b", "scale": "2"}]},
        ),
        ([("loras[1][lora]", "b"), ("loras[0][lora]", "a")], {"loras": [{"lora": "a"}, {"lora": "b"}]}),
        ([("loras[]", "a")], {"loras": ["a"]}),
        ([("loras[]", "a"), ("loras[]", "b")], {"loras": ["a", "b"]}),
        ([("loras", "a"), ("loras", "b")], {"loras": ["a", "b"]}),
        ([("a[b][c][d]", "x"), ("a[b][e]", "y")], {"a": {"b": {"c": {"d": "x"}, "e": "y"}}}),
    ],
)
def test_names_unfold(pairs: list[tuple[str, str]], meant: dict[str, Any]) -> None:
    assert unfold(pairs) == meant


@pytest.mark.parametrize(
    "pairs",
    [
        [("loras[][lora]", "a"), ("loras[][lora]", "b"), ("loras[][scale]", "1")],
        [("loras[", "a")],
        [("loras]a[", "a")],
        [("a[b]c", "x")],
        [("[a]", "x")],
        [("", "x")],
        [("a[0]", "x"), ("a[2]", "y")],
        [("a[]", "x"), ("a[0]", "y")],
        [("a", "x"), ("a[b]", "y")],
        [("a[b]", "y"), ("a", "x")],
        [("a[][b][][c]", "x")],
        [("a" + "[b]" * 40, "x")],
    ],
)
def test_what_cannot_be_read_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        unfold(pairs)
    assert caught.value.field is not None


PICTURE = Source(data=b"picture")


@pytest.mark.parametrize(
    ("body", "files", "field"),
    [
        ({"steps_": 4}, (), "steps_"),
        ({"options": {"lossy": "x"}}, (), "options"),
        ({"input_reference": {"image_url": "https://example.com/a.png", "crop": 1}}, (), "input_reference.crop"),
        ({"input_reference": ["https://example.com/a.png", "https://example.com/b.png"]}, (), "input_reference"),
        ({}, (("picture", PICTURE),), "picture"),
        ({}, (("input_reference", PICTURE), ("input_reference", PICTURE)), "input_reference"),
        ({"input_reference": "https://example.com/a.png"}, (("input_reference", PICTURE),), "input_reference"),
        ({"n": 2}, (), "n"),
    ],
)
def test_openai_refuses_what_it_would_not_render(
    body: dict[str, Any], files: tuple[tuple[str, Source], ...], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        openai.parse_create({"prompt": "a fox", **body}, files)
    assert caught.value.field == field


def test_openai_takes_what_asks_for_nothing() -> None:
    draft = openai.parse_create({"prompt": "a fox", "user": "me", "n": "1", "x": None, "y": "", "loras": []})
    assert draft.inputs == {}
    assert draft.loras == ()


@pytest.mark.parametrize("name", ["input_reference", "input_reference[]", "input_reference[0]"])
def test_openai_takes_the_picture_under_its_names(name: str) -> None:
    assert openai.parse_create({"prompt": "a fox"}, [(name, PICTURE)]).inputs == {"image": PICTURE}
