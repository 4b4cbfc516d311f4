"""A manifest on its way to the farm: local files that it names are sent first, and named by their uploads."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from farm.cli.shots import UnreadableShots, is_there
from models.catalog import ROLES

NDJSON = "application/x-ndjson"


@contextmanager
def ready(path: Path, send: Callable[[Path], str]) -> Iterator[tuple[BinaryIO | Path, str | None]]:
    """(the manifest, its media type or None for what its name says). `send` uploads a file and answers its id. Where no
    local file is named, it is the file as it is; else lines of JSON with the same numbers."""
    if not any(_local(value) for _, shot in _shots(path) for value in _sources(shot).values()):
        yield path, None
        return
    sent: dict[str, str] = {}
    faults = []
    with tempfile.TemporaryFile() as made:
        at = 1
        for number, shot in _shots(path):
            for role, value in _sources(shot).items():
                if not _local(value):
                    continue
                if not is_there(value):
                    faults.append(f"{path.name}:{number}: {role}: there is no file {value!r}")
                elif not faults:
                    sent[value] = sent.get(value) or send(Path(value).expanduser())
                    shot[role] = {"upload": sent[value]}
            made.write(b"\n" * (number - at) + json.dumps(shot).encode() + b"\n")
            at = number + 1
        if faults:
            raise UnreadableShots([*faults, "nothing was submitted"])
        yield made, NDJSON


def _shots(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines as far as they can be read here: what is wrong with them, the farm says."""
    from farm.batches import manifest
    from farm.batches.columns import COLUMNS
    from farm.batches.faults import ManifestFaults

    media = "text/csv" if path.suffix.lower() in (".csv", ".tsv") else NDJSON
    faults = ManifestFaults()
    try:
        with path.open("rb") as file:
            yield from manifest.read(file, media, COLUMNS, faults, max_line=1 << 24, max_lines=1 << 30)
    except OSError as error:
        raise click.FileError(str(path), error.strerror or "cannot be read") from None


def _sources(shot: dict[str, Any]) -> dict[str, str]:
    return {role: value for role in ROLES if isinstance(value := shot.get(role), str)}


def _local(value: str) -> bool:
    return value.partition("://")[0].lower() not in ("http", "https") and value[:5].lower() != "data:"
