"""A file of shots: JSON lines, read whole and checked before any is submitted. It submits nothing."""

import codecs
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from farm.cli.exit_codes import REFUSED, USAGE
from farm.cli.loras import parse_wear
from models.catalog import ROLES

#: byte order marks, the longer ones first, and what they mean
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class ShotLine:
    """`where`: file and line; `key`: an idempotency key that follows from what is asked, so that the same file read
    again makes nothing twice."""

    where: str
    fields: dict[str, Any]
    key: str

    def fault(self, field: str | None, detail: str) -> str:
        """A fault of the shot, as a person is told it."""
        return f"{self.where}: {field}: {detail}" if field else f"{self.where}: {detail}"


class ShotFaults(click.ClickException):
    """Everything that the farm finds wrong with a file of shots, a line for each."""

    exit_code = REFUSED

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))


class UnreadableShots(ShotFaults):
    """The same of what is wrong with the file itself."""

    exit_code = USAGE


def read(
    data: bytes, name: str, defaults: Mapping[str, Any], known: frozenset[str]
) -> tuple[list[ShotLine], list[str]]:
    """(shots, faults). `name` is the file's, for the faults; `known` are the fields that a shot may have.

    UsageError for a file that is no text, or has no shots.
    """
    shots: list[ShotLine] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    keys: dict[str, str] = {}
    # not splitlines: U+2028 may stand in a prompt
    for number, line in enumerate(_text(data, name).split("\n"), 1):
        where = f"{name}:{number}"
        if not line.strip():
            continue
        shot, wrong = _shot(line, where, known)
        faults += wrong
        if shot is None or wrong:
            continue
        fields = {**defaults, **shot}
        content = _fingerprint(fields)
        # the same line twice asks for two takes
        seen[content] = take = seen.get(content, 0) + 1
        key = str(fields.pop("idempotency_key", None) or f"shot-{content}-{take}")
        if key in keys:
            faults.append(f"{where}: idempotency_key: {keys[key]} has the same; give each shot its own, or none")
        keys[key] = where
        shots.append(ShotLine(where, fields, key))
    if not shots and not faults:
        raise click.UsageError(f"{name} has no shots")
    return shots, faults


def _text(data: bytes, name: str) -> str:
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        kind = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
        raise click.UsageError(
            f"{name}:{line}: not {kind} (byte 0x{data[error.start]:02x}; perhaps Windows-1252): save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise click.UsageError(f"{name}: not text (or UTF-16 without its mark): save the file as UTF-8")
    return text


def _shot(line: str, where: str, known: frozenset[str]) -> tuple[dict[str, Any] | None, list[str]]:
    """(shot, faults) of a line."""
    try:
        shot = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
        at = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        return None, [f"{where}: not JSON: {why}{at}; write one JSON object on each line"]
    if not isinstance(shot, dict):
        return None, [f'{where}: a shot is a JSON object, like {{"prompt": "a fox"}}']
    faults = []
    for name in sorted(set(shot) - known):
        faults.append(f"{where}: {_short(name)}: unknown; {_remedy(name, known)}")
    if not isinstance(shot.get("prompt"), str) or not shot["prompt"].strip():
        faults.append(f"{where}: prompt: required, a text")
    for role in ROLES:
        given = shot.get(role)
        if isinstance(given, str) and not is_there(given):
            faults.append(f"{where}: {role}: there is no file {_short(given)!r} (paths count from the current folder)")
    try:
        if isinstance(shot.get("loras"), list):
            # as the option says it, or as the farm's API does
            shot["loras"] = [parse_wear(one) if isinstance(one, str) else one for one in shot["loras"]]
    except click.BadParameter as error:
        faults.append(f"{where}: loras: {error.message}")
    key = shot.get("idempotency_key")
    if key is not None and not (isinstance(key, str) and key.isascii() and key.isprintable() and len(key) <= 255):
        faults.append(f"{where}: idempotency_key: a text of at most 255 printable ASCII characters")
    return shot, faults


def _remedy(name: str, known: frozenset[str]) -> str:
    if name == "batch":
        return "your own word to list jobs by goes into label"
    near = get_close_matches(name[:64], known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"


def _fingerprint(fields: Mapping[str, Any]) -> str:
    """What is asked, with files by their content."""
    plain = dict(fields)
    for role in ROLES:
        given = plain.get(role)
        if isinstance(given, str) and not _is_address(given):
            with Path(given).expanduser().open("rb") as file:
                plain[role] = {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def is_there(text: str) -> bool:
    """Whether an input names an address or a file."""
    return _is_address(text) or Path(text).expanduser().is_file()


def _is_address(text: str) -> bool:
    return text.partition("://")[0].lower() in ("http", "https") or text[:5].lower() == "data:"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."
