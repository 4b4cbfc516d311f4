"""A manifest's lines: JSON lines or CSV, read as they come and never held whole.

Each line is given as a mapping of what it says, or noted among the faults. Of CSV, texts become what their column is.
Pure but for the file that it reads.
"""

import codecs
import csv
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, BinaryIO

from pydantic_core import from_json

from farm.batches.cells import CellKind, value_of
from farm.batches.faults import ManifestFaults

NDJSON, CSV = "application/x-ndjson", "text/csv"
MEDIA = {NDJSON: NDJSON, "application/jsonl": NDJSON, "application/ndjson": NDJSON, CSV: CSV, "application/csv": CSV}
_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_GZIP = b"\x1f\x8b"
_DELIMITERS = ",;\t|"
Line = tuple[int, dict[str, Any]]


def read(
    file: BinaryIO,
    media: str,
    columns: Mapping[str, CellKind],
    faults: ManifestFaults,
    *,
    max_line: int,
    max_lines: int,
) -> Iterator[Line]:
    """(number of the line, what it says) of each shot. `columns`: what a shot may have. It stops where going on would
    make no sense."""
    start = file.read(4)
    if start.startswith(_GZIP):
        return faults.add(None, None, "this is gzip: send it unpacked")
    if start.startswith(_MARKS):
        return faults.add(1, None, "this is UTF-16 or UTF-32: save the file as UTF-8")
    file.seek(len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0)
    lines = _bounded(file, faults, max_line)
    count = 0
    for line in _json_lines(lines, faults) if media == NDJSON else _rows(lines, columns, faults):
        count += 1
        if count > max_lines:
            return faults.add(line[0], None, f"there are more than {max_lines} shots: send them as several batches")
        yield line
    if not count and not faults.count:
        faults.add(None, None, "there is no shot in it")
    return None


def _bounded(file: BinaryIO, faults: ManifestFaults, most: int) -> Iterator[tuple[int, bytes]]:
    """(number, line with its end)."""
    number = 0
    while line := file.readline(most + 1):
        number += 1
        if len(line) > most:
            return faults.add(
                number, None, f"is longer than {most} bytes: send pictures by POST /v1/uploads, or as addresses"
            )
        yield number, line
    return None


def _json_lines(lines: Iterator[tuple[int, bytes]], faults: ManifestFaults) -> Iterator[Line]:
    for number, line in lines:
        text = line.strip()
        if not text:
            continue
        try:
            shot = from_json(text, allow_inf_nan=False)
        except ValueError as error:
            faults.add(number, None, f"is not JSON: {error}; write one JSON object on each line")
            continue
        if not isinstance(shot, dict):
            faults.add(number, None, 'a shot is a JSON object, like {"prompt": "a fox"}')
            continue
        yield number, shot


def _rows(
    lines: Iterator[tuple[int, bytes]], columns: Mapping[str, CellKind], faults: ManifestFaults
) -> Iterator[Line]:
    texts = _Texts(lines, faults)
    first = next(texts, None)
    if first is None:
        return
    delimiter = _delimiter(first, columns)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if not _is_header(header, columns, faults):
        return
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    while True:
        number = texts.number + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            what = "a quoted text does not end" if "unexpected end" in str(error) else f"is not CSV: {error}"
            return faults.add(number, None, f"{what}; put such a text between double quotes")
        if row is None:
            return None
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(header):
            faults.add(
                number, None, f"has {len(row)} cells, the header {len(header)}: quote texts with a {delimiter!r}"
            )
            continue
        shot: dict[str, Any] = {}
        for name, cell in zip(header, row, strict=False):
            if cell.strip():
                try:
                    _put(shot, name, value_of(cell, _kind(name, columns)))
                except ValueError as error:
                    faults.add(number, name, str(error))
        yield number, shot


def _kind(name: str, columns: Mapping[str, CellKind]) -> CellKind:
    """Of a column, or of one for a key of a mapping."""
    stem, dot, _ = name.partition(".")
    if not dot:
        return columns[stem]
    return CellKind.SCALAR if stem == "options" else CellKind.TEXT


class _Texts:
    """Lines as texts; `number` is that of the last one."""

    def __init__(self, lines: Iterator[tuple[int, bytes]], faults: ManifestFaults) -> None:
        self._lines, self._faults, self.number = lines, faults, 0

    def __iter__(self) -> "_Texts":
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            byte = line[error.start]
            self._faults.add(
                self.number, None, f"is not UTF-8 (byte 0x{byte:02x}; perhaps Windows-1252): save the file as UTF-8"
            )
            return line.decode(errors="replace")


def _delimiter(header: str, columns: Mapping[str, CellKind]) -> str:
    """The one that gives most known columns; a comma where none does better."""

    def known(delimiter: str) -> int:
        names = next(csv.reader([header], delimiter=delimiter), [])
        return sum(name.strip().partition(".")[0] in columns for name in names)

    return max(_DELIMITERS, key=lambda one: (known(one), one == ","))


def _is_header(header: list[str], columns: Mapping[str, CellKind], faults: ManifestFaults) -> bool:
    """Whether rows can be read by it; what is wrong is noted."""
    known = [name for name in header if name.partition(".")[0] in columns]
    if not known:
        shown = ", ".join(name[:40] for name in header[:8])
        faults.add(1, None, f"the first line must name the columns (prompt, seed, ...); it says: {shown}")
        return False
    for name in header:
        if header.count(name) > 1:
            faults.add(1, name[:100], "two columns have this name")
            return False
        stem, dot, _ = name.partition(".")
        if stem not in columns or (dot and columns[stem] is not CellKind.MAPPING):
            faults.add(1, name[:100], remedy(name, columns))
    return not faults.count


def _put(shot: dict[str, Any], name: str, value: Any) -> None:
    stem, dot, key = name.partition(".")
    if dot:
        shot.setdefault(stem, {})[key] = value
    else:
        shot[name] = value


def remedy(name: str, columns: Mapping[str, CellKind]) -> str:
    """What to do about a name that is no column."""
    near = get_close_matches(name[:64], columns, n=1)
    return f"unknown; did you mean {near[0]}?" if near else f"unknown; known are {', '.join(columns)}"
