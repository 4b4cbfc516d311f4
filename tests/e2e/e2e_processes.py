"""What runs of a farm: its processes as /proc and run.json show them. It sends no signal."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    command: str


def alive(pid: int) -> bool:
    """Whether it runs (a zombie does not)."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


def state(pid: int) -> str:
    """The kernel's letter: R, S, D, T (stopped), Z."""
    return _stat(pid)[0]


def everything() -> list[Process]:
    """All processes of this machine that are no zombies."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                letter, parent = _stat(int(entry))
                command = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if letter != "Z":
                found.append(Process(int(entry), parent, command.strip()))
    return found


def descendants(root: int) -> list[Process]:
    """Everything below `root`, parents first."""
    children: dict[int, list[Process]] = {}
    for process in everything():
        children.setdefault(process.parent, []).append(process)
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(0), [])
        found += below
        todo += [process.pid for process in below]
    return found


def mentioning(text: str) -> list[Process]:
    """Processes whose environment or command line names `text` (a state folder)."""
    found = []
    for process in everything():
        try:
            environment = Path("/proc", str(process.pid), "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in environment or text in process.command:
            found.append(process)
    return found


def run_file(state_dir: Path) -> dict[str, Any]:
    """What `wanfarm up` says about itself; empty when it does not run."""
    try:
        raw = json.loads((state_dir / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _stat(pid: int) -> tuple[str, int]:
    # the name may hold spaces and brackets: what follows the last one is regular
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[1])
