"""The provider's books in a file: they are what a test counts with, so they survive SIGKILL."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tools.provider_simulator.task import ClipShape, Ordered, Task

_TABLES = """
CREATE TABLE IF NOT EXISTS tasks
  (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, token TEXT, body TEXT, told INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value INTEGER);
"""


class Books:
    """Threads may share one."""

    def __init__(self, folder: Path, balance: int, clock: Callable[[], float] = time.time) -> None:
        """`balance`: of a new account, millionths of the unit."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.now = folder, clock
        self._lock = threading.RLock()
        self._db = sqlite3.connect(folder / "account.sqlite", check_same_thread=False, isolation_level=None)
        # a killed process loses nothing of what was written: only the machine's end would
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _TABLES)
        self._db.execute("INSERT OR IGNORE INTO numbers VALUES ('topped_up', ?)", (balance,))

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Nothing else is written in between."""
        with self._lock:
            yield

    def count(self, name: str) -> None:
        """One more of something."""
        with self._lock:
            self._db.execute(
                "INSERT INTO numbers VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1", (name,)
            )

    def number(self, name: str) -> int:
        """How many of it there were."""
        with self._lock:
            row = self._db.execute("SELECT value FROM numbers WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def top_up_to(self, balance: int) -> None:
        """Make the balance this much now."""
        with self._lock:
            self._db.execute(
                "UPDATE numbers SET value = value + ? WHERE name = 'topped_up'", (balance - self.balance(),)
            )

    def add(self, task: Task) -> None:
        """Accept it: from now on it is charged."""
        with self._lock:
            self._db.execute(
                "INSERT INTO tasks (id, token, body) VALUES (?, ?, ?)", (task.id, task.token, json.dumps(asdict(task)))
            )

    def change(self, task: Task, **changes: Any) -> Task:
        """The task with these fields."""
        with self._lock:
            changed = replace(task, **changes)
            self._db.execute("UPDATE tasks SET body = ? WHERE id = ?", (json.dumps(asdict(changed)), task.id))
            return changed

    def task(self, name: str) -> Task | None:
        """By its id or its token."""
        with self._lock:
            row = self._db.execute("SELECT body FROM tasks WHERE id = ? OR token = ?", (name, name)).fetchone()
        return _task(row[0]) if row else None

    def tasks(self) -> list[Task]:
        """All, the newest first."""
        with self._lock:
            rows = self._db.execute("SELECT body FROM tasks ORDER BY n DESC").fetchall()
        return [_task(row[0]) for row in rows]

    def to_tell(self) -> list[Task]:
        """Tasks that are over and want a callback that was not sent yet; each is answered once."""
        now = self.now()
        with self._lock:
            rows = self._db.execute("SELECT body FROM tasks WHERE told = 0").fetchall()
            found = [task for row in rows if (task := _task(row[0])).state(now) not in ("queued", "running")]
            self._db.executemany("UPDATE tasks SET told = 1 WHERE id = ?", [(task.id,) for task in found])
        return [task for task in found if task.asked.callback_url]

    def balance(self) -> int:
        """What was paid in less what is charged by now."""
        now = self.now()
        return self.number("topped_up") - sum(task.charged(now) for task in self.tasks())

    def open_tasks(self) -> int:
        """Tasks that are not over."""
        now = self.now()
        return sum(task.state(now) in ("queued", "running") for task in self.tasks())


def _task(body: str) -> Task:
    raw = json.loads(body)
    asked = raw.pop("asked")
    shape = ClipShape(**asked.pop("shape"))
    return Task(asked=Ordered(**asked, shape=shape), **raw)
