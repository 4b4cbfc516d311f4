"""Fields of an HTML form as the object that they stand for: `a[b]`, `a[]`, `a[0][b]` and `a[][b]` unfolded. Pure.

SDKs write nested values of a form this way, and each in an order of its own: OpenAI's sends all of `loras[][lora]`
before the first of `loras[][scale]`.
"""

import re
from collections.abc import Iterable
from typing import Any

from farm.jobs.errors import InvalidRequest

#: brackets within one name, and the highest index
_MAX_DEPTH, _MAX_INDEX = 8, 999
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PARTS = re.compile(r"\[([^\[\]]*)\]")


def unfold(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Values by name, in the order of the form. A name that comes several times is a list; the n-th `a[][b]` belongs
    to the n-th element of `a`.

    Raises InvalidRequest for a name that cannot be read, or that means two things.
    """
    values: dict[str, list[Any]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    root: dict[str, Any] = {}
    for name, found in _numbered(values):
        _put(root, name, _path(name), found)
    return {name: _lists(value, name) for name, value in root.items()}


def _numbered(values: dict[str, list[Any]]) -> Iterable[tuple[str, Any]]:
    """(name, value) with `a[][b]` counted: `a[0][b]`, `a[1][b]`."""
    lengths: dict[str, tuple[int, str]] = {}
    for name, found in values.items():
        head, several, tail = name.partition("[]")
        if not several:
            yield name, found[0] if len(found) == 1 else found
        elif not tail:
            yield head, found
        else:
            if "[]" in tail:
                raise InvalidRequest(f"{name[:80]}: number the elements, like {head}[0]", head)
            length, other = lengths.setdefault(head, (len(found), name))
            if length != len(found):
                raise InvalidRequest(
                    f"{name[:80]} comes {len(found)} times and {other[:80]} {length} times, so that nobody knows which "
                    f"go together; number them: {head}[0]{tail}",
                    head,
                )
            for number, value in enumerate(found):
                yield f"{head}[{number}]{tail}", value


def _path(name: str) -> list[str]:
    read = _NAME.fullmatch(name)
    parts = [] if read is None else [read[1], *_PARTS.findall(read[2])]
    if not parts or len(parts) > _MAX_DEPTH or "" in parts:
        raise InvalidRequest("is no name of a field: brackets must be closed, and not too many", name[:80])
    return parts


def _put(root: dict[str, Any], name: str, path: list[str], value: Any) -> None:
    where = root
    for part in path[:-1]:
        below = where.setdefault(part, {})
        if not isinstance(below, dict):
            raise InvalidRequest("is a value and an object at once", name[:80])
        where = below
    if path[-1] in where:
        raise InvalidRequest("is given twice, in two ways", name[:80])
    where[path[-1]] = value


def _lists(value: Any, name: str) -> Any:
    """Objects whose keys are numbers are lists."""
    if not isinstance(value, dict):
        return value
    if all(key.isascii() and key.isdecimal() for key in value):
        numbers = sorted(int(key) for key in value)
        if numbers != list(range(len(value))) or len(value) > _MAX_INDEX + 1:
            raise InvalidRequest("number the elements from 0, without a gap", name)
        return [_lists(value[key], f"{name}.{key}") for key in sorted(value, key=int)]
    return {key: _lists(one, f"{name}.{key}") for key, one in value.items()}
