"""The examples of the five documents, cut out of the texts themselves."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SEEDS = Path(__file__).parent / "data" / "seeds"


def text(name: str) -> str:
    return (SEEDS / f"{name}.md").read_text()


def json_values(name: str) -> list[Any]:
    """Every JSON object and array of a document, in order; also those inside curl commands."""
    source, found, at = _mended(text(name)), [], 0
    decoder = json.JSONDecoder()
    while (start := _next_open(source, at)) is not None:
        try:
            value, end = decoder.raw_decode(source, start)
        except ValueError:
            at = start + 1
            continue
        at = end
        if value and (isinstance(value, dict) or isinstance(value[0], dict)):
            found.append(value)
    return found


def answers(name: str, *keys: str) -> list[Any]:
    """The JSON objects of a document that have all of `keys` at the top."""
    return [v for v in json_values(name) if isinstance(v, dict) and set(keys) <= v.keys()]


def curls(name: str) -> list[str]:
    """Every curl command of a document, as a shell would get it."""
    return list(_wiro_curls() if name == "wiro" else _curls(text(name)))


def _curls(source: str) -> Iterator[str]:
    lines = iter(source.splitlines())
    for line in lines:
        if not line.startswith("curl "):
            continue
        command = [line]
        # a command goes on after a backslash and inside quotes
        while command[-1].endswith("\\") or "\n".join(command).count("'") % 2:
            command.append(next(lines))
        yield "\n".join(command)


def _wiro_curls() -> Iterator[str]:
    """The document is one line: a command ends with its closing fence. One prompt has an apostrophe that would end the
    shell's quote ("the man's face"): it is written the way a shell takes it, the bytes sent are the document's."""
    for match in re.finditer(r"```bash (curl .*?); ```", text("wiro")):
        yield match[1].replace("man's", "man'\\''s")


def _mended(source: str) -> str:
    # wiro's samples show a JSON string without its escapes: "categories": "["tool",...]"
    return re.sub(r'"categories": "(\[.*?\])"', lambda m: '"categories": ' + json.dumps(m[1]), source)


def _next_open(source: str, at: int) -> int | None:
    match = re.compile(r"[\[{]").search(source, at)
    return match.start() if match else None


def shape(value: Any) -> Any:
    """Keys and types of a JSON value; a list has the shape of its first item."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__
