"""How the command speaks: one JSON document with --json, else plain lines and tables. Only results go to standard
output; everything said along the way goes to standard error."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

#: a table that is not written to a terminal is not cut to its width
_PIPE_WIDTH = 400


class Terminal:
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
        from pydantic_core import to_jsonable_python

        sys.stdout.write(json.dumps(to_jsonable_python(value), indent=2, ensure_ascii=False) + "\n")

    def line(self, text: str = "") -> None:
        """A result, for people."""
        if not self.as_json:
            sys.stdout.write(text + "\n")

    def say(self, text: str) -> None:
        """What happens meanwhile: standard error, also with --json."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
        """Columns whose name begins with > are numbers (aligned right)."""
        from rich.table import Table
        from rich.text import Text

        listed = [[Text("" if cell is None else str(cell)) for cell in row] for row in rows]
        if not listed:
            self.say(empty)
            return
        console = self.console()
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            right = name.startswith(">")
            table.add_column(
                name.removeprefix(">"),
                justify="right" if right else "left",
                no_wrap=True,
                overflow="ellipsis" if console.is_terminal else "ignore",
            )
        for row in listed:
            table.add_row(*row)
        _print_trimmed(console, table)

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Name and value, one per line; None is left out."""
        wide = max((len(name) for name in facts), default=0)
        for name, value in facts.items():
            if value is not None:
                self.line(f"{name.ljust(wide)}  {value}")


def _print_trimmed(console: "Console", table: Any) -> None:
    """rich pads the last column to the table's width: that is noise in a pipe."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        console.file.write(line.rstrip() + "\n")
