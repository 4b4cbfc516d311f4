"""A manifest's lines: JSON lines or CSV, read as they come and never held whole.

Each line is given as a mapping of what it says, or noted among the faults. Of CSV, texts become what their column is.
Pure but for the file that it reads.
"""

import codecs
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, BinaryIO

from pydantic_core import from_json

from farm.batches.cells import CellKind, value_of
from farm.batches.faults import ManifestFaults

NDJSON, CSV = "application/x-ndjson", "text/csv"
#: tabs are one of CSV's delimiters
MEDIA = dict.fromkeys((NDJSON, "application/jsonl", "application/ndjson"), NDJSON)
MEDIA |= dict.fromkeys((CSV, "application/csv", "text/tab-separated-values"), CSV)
_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_UTF_16 = "this is UTF-16 or UTF-32: save the file as UTF-8"
_LONE_CR = "lines end with a carriage return alone: save the file with LF or CRLF as line ends"
#: characters of one cell
_MOST_CELL = csv.field_size_limit()
_DELIMITERS = ",;\t|"
Line = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class LineWords:
    """How faults call what stands on a line, and an example of it."""

    one: str = "shot"
    example: str = '{"prompt": "a fox"}'


_SHOT = LineWords()


def read(
    file: BinaryIO,
    media: str,
    columns: Mapping[str, CellKind],
    faults: ManifestFaults,
    *,
    max_line: int,
    max_lines: int,
    words: LineWords = _SHOT,
) -> Iterator[Line]:
    """(number of the line, what it says) of each shot. `columns`: what a shot may have. It stops where going on would
    make no sense."""
    start = file.read(4)
    if start.startswith(_GZIP):
        return faults.add(None, None, "this is gzip: send it unpacked")
    if start.startswith(_ZIP):
        return faults.add(None, None, "this is a zip or a spreadsheet: save it as CSV (UTF-8)")
    if start.startswith(_MARKS) or b"\0" in start:
        return faults.add(1, None, _UTF_16)
    file.seek(len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0)
    lines = _bounded(file, faults, max_line)
    count = 0
    for line in _json_lines(lines, words, faults) if media == NDJSON else _rows(lines, columns, faults):
        count += 1
        if count > max_lines:
            return faults.add(
                line[0], None, f"there are more than {max_lines} {words.one}s: send them as several batches"
            )
        yield line
    if not count and not faults.count:
        faults.add(None, None, f"there is no {words.one} in it: write one on each line")
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


def _json_lines(lines: Iterator[tuple[int, bytes]], words: LineWords, faults: ManifestFaults) -> Iterator[Line]:
    each = f"write one {words.one} on each line, as a JSON object"
    for number, line in lines:
        text = line.strip()
        if not text:
            continue
        try:
            shot = from_json(text, allow_inf_nan=False)
        except ValueError as error:
            if text.startswith(b"["):
                return faults.add(number, None, f"this is a JSON array: {each}")
            faults.add(number, None, _LONE_CR if b"\r" in text else f"is not JSON: {error}; {each}")
            continue
        if not isinstance(shot, dict):
            faults.add(number, None, f"a {words.one} is a JSON object, like {words.example}; {each}")
            continue
        yield number, shot


def _rows(
    lines: Iterator[tuple[int, bytes]], columns: Mapping[str, CellKind], faults: ManifestFaults
) -> Iterator[Line]:
    texts = _Texts(lines, faults)
    found = _header(texts, columns, faults)
    if found is None:
        return None
    header, delimiter = found
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    while True:
        number = texts.number + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            return faults.add(number, None, _broken(error))
        if row is None:
            return None
        if not any(cell.strip() for cell in row):
            continue
        _strip_empty(row, len(header))
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


def _header(texts: "_Texts", columns: Mapping[str, CellKind], faults: ManifestFaults) -> tuple[list[str], str] | None:
    """(columns of the rows, delimiter) from the first line that says anything; None where no row can be read."""
    first = next((text for text in texts if text.strip()), None)
    if first is None:
        return None
    if "\r" in first.rstrip("\r\n"):
        faults.add(texts.number, None, _LONE_CR)
        return None
    try:
        delimiter = _delimiter(first, columns)
        header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        _strip_empty(header, 0)
    except csv.Error as error:
        faults.add(texts.number, None, _broken(error))
        return None
    return (header, delimiter) if _is_header(texts.number, header, columns, faults) else None


def _strip_empty(cells: list[str], keep: int) -> None:
    """Spreadsheets write delimiters for columns beside the table, too."""
    while len(cells) > keep and not cells[-1].strip():
        cells.pop()


def _broken(error: csv.Error) -> str:
    """What to do about what the csv module says."""
    told = str(error)
    if "unexpected end" in told:
        return "a quoted text does not end: write a double quote after it"
    if "field limit" in told:
        return f"a cell has more than {_MOST_CELL} characters: shorten it, or end its quoted text with a double quote"
    if "new-line character" in told:
        return f"{_LONE_CR}, and put a text with line ends between double quotes"
    return f"is not CSV: {told}; put such a text between double quotes"


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


def _is_header(line: int, header: list[str], columns: Mapping[str, CellKind], faults: ManifestFaults) -> bool:
    """Whether rows can be read by it; what is wrong is noted."""
    known = [name for name in header if name.partition(".")[0] in columns]
    if not known:
        shown = ", ".join(name[:40] for name in header[:8])
        faults.add(line, None, f"the first line must name the columns (prompt, seed, ...); it says: {shown}")
        return False
    for at, name in enumerate(header, 1):
        if not name:
            faults.add(line, None, f"column {at} has no name: give it one, or remove the column")
            return False
        if header.count(name) > 1:
            faults.add(line, name[:100], "two columns have this name: keep one")
            return False
        stem, dot, _ = name.partition(".")
        if dot and stem in header:
            faults.add(line, name[:100], f"{stem} is a column too: write all of it there, or a column for each key")
            return False
        if stem not in columns or (dot and columns[stem] is not CellKind.MAPPING):
            faults.add(line, name[:100], remedy(name, columns))
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
