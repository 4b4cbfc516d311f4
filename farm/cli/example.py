"""The example configuration, made from farm.config: every setting with its sentence and its default, commented out."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from farm.config import PoolSettings, Settings
from farm.embedded.settings_file import plain

HEADER = """\
# Wanfarm: every setting, with its default. Made by `wanfarm config example`.
#
# Remove the # in front of a setting to change it; everything is optional. WANFARM_CONFIG or --config names the file,
# and every setting can be an environment variable instead: lease.seconds is WANFARM_LEASE__SECONDS.
# `wanfarm config check` reads it and says what is wrong.
"""
_FIELD = re.compile(r"    (\w+): ")
_COMMENT = re.compile(r"    #: ?(.*)")


def example() -> str:
    """The text of deploy/wanfarm.example.toml."""
    blocks = [HEADER + "\n" + "\n".join(_lines(Settings))]
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            blocks.append("\n".join([*_sentences(field.annotation), f"[{name}]", *_lines(field.annotation)]))
    # the one table whose names are the operator's own
    blocks.append("\n".join([*_sentences(PoolSettings), "# [pools.default]", *_lines(PoolSettings)]))
    return "\n\n".join(blocks) + "\n"


def _sentences(section: type[BaseModel]) -> list[str]:
    # not inspect.getdoc: a section without a docstring would get its base's
    text = inspect.cleandoc(section.__doc__ or "")
    return [f"# {line}" for line in text.splitlines() if line]


def _lines(section: type[BaseModel]) -> Iterator[str]:
    """A section's settings: the sentences that stand over them in farm.config, then `# name = default`."""
    comments = _comments(section)
    for name, field in section.model_fields.items():
        value = plain(field.get_default(call_default_factory=True))
        if isinstance(value, BaseModel) or (section is Settings and isinstance(value, Mapping)):
            continue
        yield from (f"#   {line}" for line in comments.get(name, ()))
        yield f"# {name} =   (not set)" if value is None else f"# {name} = {_toml(value)}"


def _comments(section: type[BaseModel]) -> dict[str, list[str]]:
    """Setting -> the `#:` lines over it."""
    found: dict[str, list[str]] = {}
    waiting: list[str] = []
    for line in inspect.getsource(section).splitlines():
        if comment := _COMMENT.fullmatch(line):
            waiting.append(comment[1])
        elif field := _FIELD.match(line):
            found[field[1]], waiting = waiting, []
    return found


def _toml(value: Any) -> str:
    """A value on one line. JSON's scalars and lists are TOML's too."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_toml(one)}" for name, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
