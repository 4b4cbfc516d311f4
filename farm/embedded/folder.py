"""The state folder of one farm: its lock, what it remembers between starts, who runs in it, the client's key.

lock          held by the one `wanfarm up` of this folder
farm.json     ports, password and S3 keys, made at first start    (0600)
farm.toml     the settings that the parts were started with       (0600)
client.toml   address and keys for `wanfarm submit` and friends   (0600)
run.json      what runs now; gone after a clean end               (0600)
redis/ s3/ beat/ logs/
"""

import fcntl
import json
import os
import secrets
import stat
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from farm.jobs.errors import FarmError


class StateFolderBusy(FarmError):
    """Another `wanfarm up` holds this folder."""


@dataclass
class Remembered:
    """What must be the same at every start: clients, object signatures and jobs refer to it."""

    redis_port: int = 0
    s3_port: int = 0
    s3_inner_port: int = 0
    gateway_port: int = 0
    s3_access_key: str = field(default_factory=lambda: "wf" + secrets.token_hex(9))
    s3_secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    redis_password: str = field(default_factory=lambda: secrets.token_urlsafe(30))


@dataclass(frozen=True)
class ClientNotes:
    """How the command line reaches this farm. `admin_key` is for operators' calls."""

    url: str
    key: str | None = None
    admin_key: str | None = None
    tenant: str | None = None


class StateFolder:
    """Paths and small files of `path`, which is made when it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.redis = self.path / "redis"
        self.s3 = self.path / "s3"
        self.beat = self.path / "beat"
        self.logs = self.path / "logs"
        self.settings_file = self.path / "farm.toml"
        self.client_file = self.path / "client.toml"
        self.run_file = self.path / "run.json"

    def make(self) -> None:
        """Make the folder and those inside, and close it to other users. Raises FarmError when it cannot be closed."""
        # objects, keys and prompts are inside: nobody else on the machine needs to look
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if stat.S_IMODE(self.path.stat().st_mode) & 0o077:
            # made by hand or by a packager
            try:
                self.path.chmod(0o700)
            except OSError as error:
                raise FarmError(
                    f"{self.path} is open to other users and cannot be closed (chmod 700): {error}"
                ) from None
        for folder in (self.redis, self.s3, self.beat, self.logs):
            folder.mkdir(exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; StateFolderBusy names the process that holds it. The kernel frees it when that one dies."""
        self.make()
        with (self.path / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise StateFolderBusy(f"a farm already runs in {self.path} (wanfarm up, process {holder})") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def remembered(self) -> Remembered:
        """What farm.json keeps between starts; empty before the first start."""
        raw = _read_json(self.path / "farm.json")
        known = {name: value for name, value in raw.items() if name in Remembered.__dataclass_fields__}
        return Remembered(**known)

    def remember(self, notes: Remembered) -> None:
        """Write farm.json."""
        self.write_private(self.path / "farm.json", json.dumps(asdict(notes), indent=2))

    def client(self) -> ClientNotes | None:
        """None before the first start, or when the file cannot be read."""
        try:
            raw = tomllib.loads(self.client_file.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError):
            return None
        known = {name: str(value) for name, value in raw.items() if name in ClientNotes.__dataclass_fields__}
        return ClientNotes(**known) if "url" in known else None

    def write_client(self, notes: ClientNotes) -> None:
        """Write client.toml, which holds keys: readable by this user alone."""
        known = {name: value for name, value in asdict(notes).items() if value is not None}
        self.write_private(self.client_file, "# written by `wanfarm up`: keys are inside\n" + tomli_w.dumps(known))

    def running(self) -> dict[str, Any] | None:
        """What `wanfarm up` last wrote about itself; None when it ended cleanly or never ran."""
        return _read_json(self.run_file) or None

    def write_running(self, state: dict[str, Any]) -> None:
        """Write what runs now, for `wanfarm` commands beside it."""
        self.write_private(self.run_file, json.dumps(state, indent=2))

    def write_private(self, path: Path, text: str) -> None:
        """Replace `path` in one step, readable by its owner only."""
        handle, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write(text)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}
