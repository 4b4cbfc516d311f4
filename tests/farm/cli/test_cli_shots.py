"""A file of shots: all of it is read and judged before any shot is submitted, and no shot is made twice."""

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farm.embedded import samples
from tests.api.api_parts import TINY
from tests.farm.cli.cli_run import Ran

Wanfarm = Callable[..., Ran]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "shots.jsonl"


def lines(*shots: Any) -> str:
    return "\n".join(json.dumps(shot) for shot in shots) + "\n\n"


def test_shots_are_submitted_with_the_options_as_defaults(wanfarm: Wanfarm, source: Path, tmp_path: Path) -> None:
    (tmp_path / "lake.jpg").write_bytes(samples.picture())
    source.write_text(
        lines({"prompt": "one", "seed": 1}, {"prompt": "two", "image": "lake.jpg", "idempotency_key": "two"})
    )
    made = wanfarm("submit", "--from", source, "--model", TINY, "--label", "scene", "--json").document
    assert [(job["prompt"], job["task"], job["label"]) for job in made] == [
        ("one", "t2v", "scene"),
        ("two", "i2v", "scene"),
    ]
    by_old_name = wanfarm("jobs", "--batch", "scene", "--json")
    assert len(by_old_name.document) == 2
    assert "--batch is now --label" in by_old_name.err


def test_every_fault_of_every_line_is_told_and_nothing_is_made(wanfarm: Wanfarm, source: Path) -> None:
    source.write_text(
        '{"prompt": "fine"}\n{"prompt": "x", "stepz": 1, "sede": 2}\n{"prompt": "x", "batch": "scene"}\n{"seed": 1}\n'
        '[]\n{\n{"prompt": 5}\n{"prompt": "x", "image": "no-such.png"}\n{"prompt": "x", "loras": ["a:b:c:d"]}\n'
    )
    refused = wanfarm("submit", "--from", source, "--model", TINY)
    assert (refused.code, refused.out) == (2, "")
    for words in (
        "shots.jsonl:2: sede: unknown; did you mean seed?",
        "shots.jsonl:2: stepz: unknown; did you mean steps?",
        "shots.jsonl:3: batch: unknown; your own word to list jobs by goes into label",
        "shots.jsonl:4: prompt: required",
        "shots.jsonl:5: a shot is a JSON object",
        "shots.jsonl:6: not JSON",
        "shots.jsonl:7: prompt: required, a text",
        "shots.jsonl:8: image: there is no file 'no-such.png'",
        "shots.jsonl:9: loras: ",
        "nothing was submitted",
    ):
        assert words in refused.err
    assert "shots.jsonl:1:" not in refused.err
    assert wanfarm("jobs", "--json").document == []


WRONG = {
    "frames": 80,
    "steps": "many",
    "width": [1],
    "image": 5,
    "loras": 5,
    "metadata": "x",
    "options": [],
    "seed": 1.5,
    "deadline": "tomorrow",
    "name": {},
}


def test_what_the_farm_would_refuse_is_told_before_any_is_made(wanfarm: Wanfarm, source: Path) -> None:
    """40 shots, every field wrong in a line of its own, and never a defect of ours."""
    wrong = [{"prompt": "x", name: value} for name, value in WRONG.items()]
    source.write_text(lines(*[{"prompt": f"fine {n}"} for n in range(30)], *wrong))
    refused = wanfarm("submit", "--from", source, "--model", TINY)
    assert (refused.code, refused.out) == (4, "")
    for number, name in enumerate(WRONG, 31):
        assert f"shots.jsonl:{number}: {name}" in refused.err, refused.err
    assert "77 or 81" in refused.err
    assert "defect" not in refused.err
    assert wanfarm("jobs", "--json").document == []


def test_a_second_run_makes_no_shot_twice(wanfarm: Wanfarm, source: Path, tmp_path: Path) -> None:
    (tmp_path / "lake.jpg").write_bytes(samples.picture())
    shots = [{"prompt": "one"}, {"prompt": "two", "image": "lake.jpg"}, {"prompt": "one"}]
    source.write_text(lines(*shots))
    first = wanfarm("submit", "--from", source, "--model", TINY).ok().out.split()
    assert len(set(first)) == 3, "the same line twice asks for two takes"
    source.write_text(lines({"prompt": "zero"}, *shots))
    again = wanfarm("submit", "--from", source, "--model", TINY).ok()
    assert again.out.split()[1:] == first
    assert "3 of these were made before" in again.err
    assert len(wanfarm("jobs", "--json").document) == 4
    (tmp_path / "lake.jpg").write_bytes(samples.picture() + b"\0")
    assert wanfarm("submit", "--from", source, "--model", TINY).ok().out.split()[2] != first[1], "another picture"
    anew = wanfarm("submit", "--from", source, "--model", TINY, "--again").ok().out.split()
    assert not set(anew) & set(first)


def test_a_large_input_is_recognised_on_the_second_run(
    wanfarm: Wanfarm, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes by an upload with an id of its own each time."""
    monkeypatch.setattr("farm.client.client.INLINE_BYTES", 1000)
    (tmp_path / "lake.jpg").write_bytes(samples.picture())
    source.write_text(lines({"prompt": "two", "image": "lake.jpg"}))
    first, again = (wanfarm("submit", "--from", source, "--model", TINY).ok().out for _ in range(2))
    assert first == again


def test_what_only_a_look_at_the_input_finds_stops_no_other_shot(
    wanfarm: Wanfarm, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    source.write_text(lines({"prompt": "one"}, {"prompt": "two", "image": "bad.jpg"}, {"prompt": "three"}))
    told = wanfarm("submit", "--from", source, "--model", TINY)
    assert (told.code, len(told.out.split())) == (4, 2)
    assert "shots.jsonl:2: image" in told.err
    assert "2 of 3 shots are there" in told.err


@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_of_windows_are_read(wanfarm: Wanfarm, source: Path, mark: str, end: str) -> None:
    source.write_bytes(end.join(['{"prompt": "café \u2028 one"}', '{"prompt": "zwei"}', ""]).encode(mark))
    made = wanfarm("submit", "--from", source, "--model", TINY, "--json").document
    assert [job["prompt"] for job in made] == ["café \u2028 one", "zwei"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"prompt": "one"}\n{"prompt": "caf\xe9"}\n', "shots.jsonl:2: not UTF-8 (byte 0xe9; perhaps Windows-1252)"),
        ('{"prompt": "x"}'.encode("utf-16-le"), "UTF-16 without its mark"),
        (codecs.BOM_UTF16_LE + b"{", "not UTF-16"),
        (b"", "has no shots"),
        (b"\n \n", "has no shots"),
        (b"\0\0\0", "not text"),
    ],
)
def test_what_is_no_text_is_refused_in_a_sentence(wanfarm: Wanfarm, source: Path, data: bytes, says: str) -> None:
    source.write_bytes(data)
    refused = wanfarm("submit", "--from", source, "--model", TINY)
    assert refused.code == 2
    assert says in refused.err


def test_two_shots_with_one_key_are_told(wanfarm: Wanfarm, source: Path) -> None:
    source.write_text(lines({"prompt": "a", "idempotency_key": "k"}, {"prompt": "b", "idempotency_key": "k"}))
    refused = wanfarm("submit", "--from", source, "--model", TINY)
    assert refused.code == 2
    assert "shots.jsonl:2: idempotency_key: " in refused.err
    source.write_text(lines({"prompt": "a", "idempotency_key": "é"}))
    assert "printable ASCII" in wanfarm("submit", "--from", source, "--model", TINY).err
