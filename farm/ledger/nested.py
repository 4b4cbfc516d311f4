"""Puts what only a seldom called function of a script needs into that function: Redis makes every function of a script
anew at each call, and so it makes those only when they are needed. Pure."""

import re
from collections.abc import Collection

from farm.ledger.unused import DEFINES, NAME

_FUNCTION = re.compile(r"local function \w+\(([\w, .]*)\)\n(?=.*^end\Z)", re.DOTALL | re.MULTILINE)


def nested(statements: list[str], seldom: Collection[str]) -> list[str]:
    """The top-level statements of a script, each name defined before it is used, with each function at the head of the
    smallest one of those called `seldom` in which all are that name it, where there is one.

    None goes where a name that it knows would mean something else: into a function that has an argument of that name,
    or behind a second definition of it."""
    names = [set(NAME.findall(statement)) for statement in statements]
    functions = [_FUNCTION.match(statement) for statement in statements]
    own = [_own(statement) for statement in statements]
    home: dict[int, int] = {}

    def around(at: int) -> list[int]:
        """The statement and those that it is in, the outermost first."""
        return [*around(home[at]), at] if at in home else [at]

    def place(at: int) -> int | None:
        """The innermost seldom called function that all who use the statement stand in; None: there is none."""
        users = [around(user) for user in range(at + 1, len(statements)) if names[user] & own[at]]
        common = [level[0] for level in zip(*users, strict=False) if len(set(level)) == 1]
        known, found = names[at] & set[str]().union(*own[:at]), None
        for user in common:
            function = functions[user]
            if function is None or not known.isdisjoint([*NAME.findall(function[1]), *own[user]]):
                break
            if not own[user].isdisjoint(seldom):
                found = user
        return found

    # what names a function stands behind it, and has its own place already
    for at in reversed(range(len(statements))):
        later = set[str]().union(*own[at + 1 :])
        if functions[at] and names[at].isdisjoint(later & set[str]().union(*own[: at + 1])):
            into = place(at)
            if into is not None:
                home[at] = into

    def text(at: int) -> str:
        """The statement with what belongs inside it."""
        function, inner = functions[at], [text(other) for other, into in home.items() if into == at]
        if function is None or not inner:
            return statements[at]
        # `home` was filled from the last to the first
        head = "".join(f"  {line}\n" for one in reversed(inner) for line in one.splitlines())
        return statements[at][: function.end()] + head + statements[at][function.end() :]

    return [text(at) for at in range(len(statements)) if at not in home]


def _own(statement: str) -> set[str]:
    """The names that it defines."""
    found = DEFINES.match(statement)
    return set(NAME.findall(found[1])) if found else set()
