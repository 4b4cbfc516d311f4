"""Settings as a TOML file for the parts, with every value written out, so that a part reads exactly what was
decided."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import SecretBytes, SecretStr

from farm.config import Settings

HEADER = "# Written by `wanfarm up` at every start; changes made here are lost.\n\n"


def render(settings: Settings) -> str:
    """TOML that loads to equal settings. None is left out: it is every optional setting's default."""
    return HEADER + tomli_w.dumps(plain(settings.model_dump()))


def plain(value: Any) -> Any:
    """`value` in types that TOML and JSON have; None is left out of tables."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, SecretStr | SecretBytes):
        return value.get_secret_value()
    if isinstance(value, Enum):
        return value.value
    return value
