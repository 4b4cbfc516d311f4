"""recipe.json as a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: of the file; readers refuse others
FORMAT = 1


def write(path: Path, recipe: Mapping[str, Any]) -> None:
    """Write a recipe as JSON with sorted keys."""
    path.write_text(json.dumps(recipe, indent=2, sort_keys=True) + "\n")
