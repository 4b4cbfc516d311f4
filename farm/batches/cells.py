"""Texts of CSV cells and of query strings, read as what their column is. Pure."""

import re
import types
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import from_json

from models.catalog import ROLES

#: not what int() and float() read: they take 1_000, and digits of any alphabet
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class CellKind(StrEnum):
    """How the text of a cell is read."""

    TEXT = "text"
    WHOLE = "whole"
    NUMBER = "number"
    #: a JSON object, or a column for each of its keys: `metadata.scene`
    MAPPING = "mapping"
    #: a number, true or false, else a text
    SCALAR = "scalar"
    #: an address, or a JSON object
    SOURCE = "source"
    #: names, separated by spaces, commas or semicolons
    NAMES = "names"
    JSON = "json"


def kinds_of(model: type[BaseModel], names: frozenset[str] = frozenset()) -> dict[str, CellKind]:
    """Field of a request -> how its text is read. `names`: the fields that list names of shots."""
    found = {name: _kind(field.annotation) for name, field in model.model_fields.items()}
    special = dict.fromkeys(ROLES, CellKind.SOURCE) | dict.fromkeys(names, CellKind.NAMES)
    return {name: special.get(name, kind) for name, kind in found.items()}


def value_of(text: str, kind: CellKind) -> Any:
    """The value that a text stands for. Raises ValueError, whose text says what would do."""
    text = text.strip()
    try:
        return _READ[kind](text)
    except ValueError:
        words = {CellKind.WHOLE: "a whole number, like 42", CellKind.NUMBER: "a number, like 4.5"}
        raise ValueError(f"{text[:40]!r} is not {words.get(kind, 'JSON')}") from None


def _scalar(text: str) -> Any:
    try:
        value = _json(text.lower())
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return float(text)


def _json(text: str) -> Any:
    return from_json(text, allow_inf_nan=False)


def _kind(annotation: Any) -> CellKind:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        inner = [one for one in get_args(annotation) if one is not type(None)]
        return _kind(inner[0])
    if origin is dict:
        return CellKind.MAPPING
    if origin is list:
        return CellKind.JSON
    if origin is Literal:
        return CellKind.TEXT
    return {int: CellKind.WHOLE, float: CellKind.NUMBER}.get(annotation, CellKind.TEXT)


_READ: dict[CellKind, Callable[[str], Any]] = {
    CellKind.TEXT: str,
    CellKind.WHOLE: _whole,
    CellKind.NUMBER: _number,
    CellKind.MAPPING: _json,
    CellKind.JSON: _json,
    CellKind.SCALAR: _scalar,
    CellKind.SOURCE: lambda text: _json(text) if text.startswith("{") else text,
    CellKind.NAMES: lambda text: text.replace(",", " ").replace(";", " ").split(),
}
