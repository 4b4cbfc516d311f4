"""The rooms: the table of docs/architecture.md is true, and no files import each other in a circle. Which room may
import which is checked by import-linter (pyproject.toml)."""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
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


def test_every_public_function_says_what_it_does() -> None:
    """A protocol explains its members, also for the classes of its room that have them."""
    silent, known = [], 0
    for room, paths in _rooms().items():
        trees = {path: ast.parse(path.read_text()) for path in paths}
        explained = {name for tree in trees.values() for name in _protocol_members(tree)}
        for path, tree in trees.items():
            for name, function in _public(tree.body):
                known += 1
                method = "." in name and function.name in explained
                if ast.get_docstring(function) is None and not method:
                    silent.append(f"{path.relative_to(ROOT)}: {name}")
        assert paths, room
    assert known > 900
    assert silent == []


def _rooms() -> dict[str, list[Path]]:
    """Room -> its files, also those in folders within it."""
    rooms: dict[str, list[Path]] = defaultdict(list)
    for path in (path for folder in ("api", "farm", "models", "monitoring") for path in (ROOT / folder).rglob("*.py")):
        rooms["/".join(path.relative_to(ROOT).parts[:2])].append(path)
    return rooms


def _protocol_members(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases):
            yield from (member.name for member in node.body if isinstance(member, ast.FunctionDef))


def _public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions, and methods of classes, whose names have no leading underscore."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public(node.body, f"{node.name}.")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield prefix + node.name, node
