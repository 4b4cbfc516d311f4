"""A page of a list that is at hand: the address says where it begins (`from`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from flask import request

from farm.jobs.errors import InvalidRequest

Row = TypeVar("Row")


@dataclass(frozen=True)
class Pages:
    """Which rows of how many are shown. before, after: where the neighbours begin; None: there is none."""

    first: int
    last: int
    total: int
    before: int | None
    after: int | None


def paging(rows: Sequence[Row], most: int) -> tuple[Sequence[Row], Pages]:
    """The rows from `from` of the address on. Raises InvalidRequest."""
    text = request.args.get("from", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise InvalidRequest("a number of rows", "from")
    begin = min(int(text), max(0, len(rows) - 1))
    end = min(begin + most, len(rows))
    pages = Pages(
        begin + 1 if rows else 0,
        end,
        len(rows),
        max(0, begin - most) if begin else None,
        end if end < len(rows) else None,
    )
    return rows[begin:end], pages
