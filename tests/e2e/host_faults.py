"""What may happen to the machine of a farm under test: its clock steps, its scratch disk fills up. Each says whether it
can be done here."""

import contextlib
import errno
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HERE = Path(__file__).parent
#: more than a worker wants free (farm.agent.out_of_service.FLOOR_BYTES), and little more
DISK_MIB = 96


class HostClock:
    """The wall clock of every process that is started with `environment`. Without a C compiler, `environment` is empty
    and setting it has no effect. (A program that asks the kernel itself, like one in Go, keeps
    the right time.)"""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._file.write_bytes(struct.pack("l", 0))
        library = folder / "clock_step.so"
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is not None:
            command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(_HERE / "clock_step.c"), "-ldl"]
            subprocess.run(command, check=True)
        self.works = compiler is not None
        self.environment = {"LD_PRELOAD": str(library), "E2E_CLOCK": str(self._file)} if self.works else {}

    def set(self, seconds: int) -> None:
        """So far from the right time, from now on."""
        # in place: every process has the file mapped
        with self._file.open("r+b", buffering=0) as shared:
            shared.write(struct.pack("l", seconds))


@contextmanager
def small_disk(folder: Path, mib: int = DISK_MIB) -> Iterator[bool]:
    """`folder` on a file system of its own; False where mounting is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "wanfarm-test", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            # whatever still runs in there was killed with the farm
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until there is no room for one byte; the file to remove."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(_Full):
                while True:
                    _write(out.fileno(), size)
    return filler


class _Full(Exception):
    pass


def _write(handle: int, size: int) -> None:
    try:
        os.write(handle, b"\0" * size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _Full from error
