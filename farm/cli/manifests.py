"""A manifest on its way to the farm: local files that it names are sent first, and named by their uploads."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from farm.batches import manifest
from farm.batches.columns import COLUMNS
from farm.batches.faults import LineFault, ManifestFaults
from farm.cli.shots import UnreadableShots, is_there
from models.catalog import ROLES

NDJSON = "application/x-ndjson"
_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})


@contextmanager
def ready(path: Path, send: Callable[[Path], str]) -> Iterator[tuple[BinaryIO | Path, str | None]]:
    """(the manifest, its media type or None for what its name says). `send` uploads a file and answers its id. Where no
    local file is named, it is the file as it is; else lines of JSON with the same numbers."""
    if path.suffix.lower() not in _SUFFIXES:
        names = "name it .csv or .tsv where it has columns, .jsonl where it has one JSON object on each line"
        raise click.UsageError(f"{path.name}: {names}")
    local, faults = _looked_at(path)
    if not local:
        # what is wrong with it, the farm says
        yield path, None
        return
    if faults:
        raise UnreadableShots([*faults, "nothing was submitted"])
    sent: dict[str, str] = {}
    with tempfile.TemporaryFile() as made:
        at = 1
        for number, shot in _shots(path, ManifestFaults()):
            for role, value in _sources(shot).items():
                if _local(value):
                    sent[value] = sent.get(value) or send(Path(value).expanduser())
                    shot[role] = {"upload": sent[value]}
            made.write(b"\n" * (number - at) + json.dumps(shot).encode() + b"\n")
            at = number + 1
        yield made, NDJSON


def _looked_at(path: Path) -> tuple[bool, list[str]]:
    """(whether it names files, every fault that can be seen here: of its lines, and files that are missing)."""
    local, missing, read = False, [], ManifestFaults()
    for number, shot in _shots(path, read):
        for role, value in _sources(shot).items():
            if _local(value):
                local = True
                if not is_there(value):
                    where = f"{path.name}:{number}: {role}"
                    missing.append(f"{where}: there is no file {value!r} (paths count from the current folder)")
    told = [": ".join(_place(path, one)) for one in read.first]
    if read.count > len(told):
        told.append(f"and {read.count - len(told)} more")
    return local, [*told, *missing]


def _place(path: Path, fault: LineFault) -> list[str]:
    where = path.name if fault.line is None else f"{path.name}:{fault.line}"
    return [where, *([fault.field] if fault.field else []), fault.detail]


def _shots(path: Path, faults: ManifestFaults) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines as far as they can be read here."""
    media = "text/csv" if path.suffix.lower() in (".csv", ".tsv") else NDJSON
    try:
        with path.open("rb") as file:
            yield from manifest.read(file, media, COLUMNS, faults, max_line=1 << 24, max_lines=1 << 30)
    except OSError as error:
        raise click.FileError(str(path), error.strerror or "cannot be read") from None


def _sources(shot: dict[str, Any]) -> dict[str, str]:
    return {role: value for role in ROLES if isinstance(value := shot.get(role), str)}


def _local(value: str) -> bool:
    return value.partition("://")[0].lower() not in ("http", "https") and value[:5].lower() != "data:"
