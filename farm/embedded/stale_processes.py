"""After a `wanfarm up` that was killed: wait until the last of its processes is gone.

The kernel ends them at once (farm.lifeline), but two servers on one folder, if only for a moment, would destroy its
append-only file. So nothing is started before the old processes have ended.
"""

import os
import time
from pathlib import Path

from farm.embedded.folder import StateFolder
from farm.jobs.errors import FarmError

_PATIENCE_S = 15.0


def await_leftovers(folder: StateFolder) -> None:
    """Raises FarmError when a process of the last run is still there after 15 s."""
    last = folder.running()
    if last is None:
        return
    parts = last.get("parts") or {}
    pids = {name: part["pid"] for name, part in parts.items() if isinstance(part.get("pid"), int)}
    end = time.monotonic() + _PATIENCE_S
    while left := {name: pid for name, pid in pids.items() if _runs_in(pid, folder.path)}:
        if time.monotonic() > end:
            names = ", ".join(f"{name} (process {pid})" for name, pid in left.items())
            raise FarmError(f"still running from the last start in {folder.path}: {names}")
        time.sleep(0.05)
    folder.run_file.unlink(missing_ok=True)


def _runs_in(pid: int, folder: Path) -> bool:
    """Whether `pid` is alive and was started by us there (its working directory tells; a pid may have a new owner)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # somebody else's: the number has been given out again
        return False
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder / "logs"
    except OSError:
        # a zombie has no working directory any more; without /proc, being alive has to do
        return not Path("/proc/self").exists()
