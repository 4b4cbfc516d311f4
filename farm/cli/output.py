"""How the command speaks: one JSON document with --json, else plain lines and tables. Only results go to standard
output; everything said along the way goes to standard error."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

#: a table that is not written to a terminal is not cut to its width
_PIPE_WIDTH = 400
#: blanks between columns
_GAP = 2
#: a column that is neither an id nor a number may be cut to so many, one that says where something stands to more
_CUT, _CUT_STATE = 12, 26


#: control codes, and marks that turn the order of what follows: a prompt must not write over what stands on a screen
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Text of strangers as it may be shown; line ends and tabs stay."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


class Terminal:
    """Writes what a command answers: for people, or as JSON."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    def console(self, stream: IO[str] | None = None) -> "Console":
        """A rich console: no control codes unless `stream` (standard output) is a terminal; NO_COLOR is honoured."""
        from rich.console import Console

        stream = stream or sys.stdout
        width = None if stream.isatty() else _PIPE_WIDTH
        return Console(file=stream, width=width, highlight=False, soft_wrap=False)

    def document(self, value: Any) -> None:
        """The one JSON document of this run. Pydantic models and dataclasses are fine inside."""
        self._write_json(value, indent=2)

    def record(self, value: Any) -> None:
        """A line of JSON, of a result that is many of them."""
        self._write_json(value, indent=None)

    def _write_json(self, value: Any, *, indent: int | None) -> None:
        from pydantic_core import to_jsonable_python

        text = json.dumps(to_jsonable_python(value), indent=indent, ensure_ascii=False)
        # all of them stand within strings, where JSON has an escape for each; line ends are its own
        sys.stdout.write(_CONTROLS.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text) + "\n")

    def line(self, text: str = "") -> None:
        """A result, for people."""
        if not self.as_json:
            sys.stdout.write(clean(text) + "\n")

    def say(self, text: str) -> None:
        """What happens meanwhile: standard error, also with --json."""
        sys.stderr.write(clean(text) + "\n")
        sys.stderr.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
        """Columns whose name begins with > are numbers (aligned right). On a terminal that is too narrow columns go,
        the last one first, but never the first one, which names the row, nor the one called state."""
        from rich.table import Table
        from rich.text import Text

        cells = [["" if cell is None else " ".join(clean(as_text(cell)).split("\n")) for cell in row] for row in rows]
        if not cells:
            self.say(empty)
            return
        console = self.console()
        widths = widths_in(columns, cells, console.width) if console.is_terminal else None
        shown = list(range(len(columns))) if widths is None else list(widths)
        listed = [[Text(row[n]) for n in shown] for row in cells]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for n in shown:
            table.add_column(
                columns[n].removeprefix(">"),
                justify="right" if columns[n].startswith(">") else "left",
                no_wrap=True,
                width=None if widths is None else widths[n],
                overflow="ignore" if widths is None else "ellipsis",
            )
        for row in listed:
            table.add_row(*row)
        _print_trimmed(console, table)

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Name and value, one per line; None is left out."""
        wide = max((len(name) for name in facts), default=0)
        for name, value in facts.items():
            if value is not None:
                self.line(f"{name.ljust(wide)}  {as_text(value)}")


def as_text(value: Any) -> str:
    """A moment as this machine's clock shows it; of anything else its text."""
    return f"{value.astimezone():%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)


def widths_in(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """The columns, by number, that stand beside each other in `width`, and how wide each is. The first one and numbers
    are never cut; what is left goes to the state first, then to the others from the left."""
    from rich.cells import cell_len

    heads = tuple(name.removeprefix(">") for name in columns)
    needed = [max(map(cell_len, column)) for column in zip(heads, *cells, strict=True)]
    given = {n: _least(columns[n], need) if n else need for n, need in enumerate(needed)}
    droppable = [n for n in given if n and columns[n] != "state"]
    while droppable and _taken(given) > width:
        del given[droppable.pop()]
    for n in sorted(given, key=lambda n: (columns[n] != "state", n)):
        given[n] += max(0, min(needed[n] - given[n], width - _taken(given)))
    return given


def _least(name: str, need: int) -> int:
    if name.startswith(">"):
        return need
    return min(need, _CUT_STATE if name == "state" else _CUT)


def _taken(given: Mapping[int, int]) -> int:
    return sum(given.values()) + _GAP * (len(given) - 1)


def _print_trimmed(console: "Console", table: Any) -> None:
    """rich pads the last column to the table's width: that is noise in a pipe."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        console.file.write(line.rstrip() + "\n")
