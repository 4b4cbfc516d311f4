"""compose.yaml and its stores as a reader of YAML sees them, with variables replaced as Compose does."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
STORES = sorted((ROOT / "deploy" / "compose").glob("store-*.yaml"))
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def variables(text: str) -> dict[str, str | None]:
    """Name -> default, None where there is none."""
    return {name: default if "-" in whole else None for whole, name, default in _found(text)}


def _found(text: str) -> list[tuple[str, str, str]]:
    return [(match[0], match[1], match[2] or "") for match in _VARIABLE.finditer(text)]


def load(path: Path, given: Mapping[str, str] = os.environ) -> dict[str, Any]:
    text = _VARIABLE.sub(lambda match: given.get(match[1]) or match[2] or "", path.read_text())
    document: dict[str, Any] = yaml.safe_load(text.replace("$$", "$"))
    return document
