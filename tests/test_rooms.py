"""The rooms: the table of docs/architecture.md is true, and no files import each other in a circle. Which room may
import which is checked by import-linter (pyproject.toml)."""

import ast
import re
import tomllib
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "docs" / "architecture.md").read_text()
#: marks of a package, which own nothing
_MARKS = {"__init__.py", "__pycache__", "py.typed"}


def test_every_room_of_the_farm_stands_in_the_table() -> None:
    # a package is a room; so is a file beside it, with or without its folder's name
    rooms = [path for path in (ROOT / "farm").iterdir() if path.name not in _MARKS]
    missing = [path.name for path in rooms if not re.search(rf"`(farm/)?{re.escape(path.name)}[`/]", TABLE)]
    assert sorted(missing) == []


def test_the_drawing_has_the_rooms_in_the_order_that_is_checked() -> None:
    drawn = re.findall(r"[a-z_]+", " ".join(_drawing()))
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for contract in (one for one in contracts if one.get("exhaustive")):
        rooms = [room for line in contract["layers"] for room in re.findall(r"(?<![(\w])[a-z_]+(?![\w)])", line)]
        assert len(rooms) > 7
        assert [room for room in drawn if room in rooms] == rooms


def _drawing() -> list[str]:
    """Lines of the drawing without their explanations, which stand in a column of their own."""
    lines = re.search(r"## The rooms.*?```\n(.*?)```", TABLE, re.DOTALL)
    assert lines is not None
    return [line[:48] for line in lines[1].splitlines()]


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"`((?:api|farm|models|monitoring|tests|docs)/[\w/.]*)`", TABLE))
    assert len(named) > 30
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports within functions count too. CycleError names the circle."""
    graph = grimp.build_graph("api", "farm", "models", "monitoring")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert sum(map(len, imports.values())) > 1000
    TopologicalSorter(imports).prepare()


def test_no_two_classes_share_a_name() -> None:
    """A name that stands for two things has to be read twice. Tests name their helpers as they like."""
    files: dict[str, list[str]] = defaultdict(list)
    folders = ("api", "farm", "models", "monitoring", "bench", "tools")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                files[node.name].append(str(path.relative_to(ROOT)))
    assert len(files) > 200
    assert {name: paths for name, paths in files.items() if len(paths) > 1} == {}
