"""Leaves out of a script what it does not use of its libraries: Redis makes every function and table of a script anew
at each call, so what is not used costs time. Pure."""

import re

#: what a top-level statement defines, and every name in a text
DEFINES = re.compile(r"local (?:function )?([A-Za-z_][\w, ]*)")
NAME = re.compile(r"[A-Za-z_]\w*")


def without_unused(libraries: list[str], script: str) -> list[str]:
    """The statements of the libraries, in their order, and of the script. Of the libraries a top-level `local` is kept
    when something behind it, itself kept, names it; every other statement is kept. Relies on the layout of lua/: a
    statement begins at the left edge, and inside it only its closing word stands there. Texts without comments."""
    statements = [statement for text in libraries for statement in _statements(text)]
    kept, named = _statements(script)[::-1], set(NAME.findall(script))
    for statement in reversed(statements):
        defines = DEFINES.match(statement)
        if defines is None or not named.isdisjoint(NAME.findall(defines[1])):
            kept.append(statement)
            named.update(NAME.findall(statement))
    return kept[::-1]


def _statements(text: str) -> list[str]:
    """The top-level statements of a Lua text."""
    found: list[str] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        # closed, or a local that is given its value in the lines after it
        if found and (line[0].isspace() or line.startswith(("end", "}", ")", "else"))):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found
