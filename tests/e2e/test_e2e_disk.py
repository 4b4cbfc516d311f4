"""A disk without a byte left: whatever was acknowledged waits until there is room again, and is not lost."""

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_laws import audit_end
from harness import SMALL, Farm

from farm.jobs.errors import FarmError
from farm.jobs.states import State

pytestmark = pytest.mark.xdist_group("e2e-hostile")
DISK_MIB = 24


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A folder for a farm on a file system of its own, or None where mounting is not permitted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "wanfarm-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield None
        return
    yield folder
    # whatever still runs in there was killed with the farm
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_loses_nothing(tmp_path: Path, small_disk: Path | None) -> None:
    """Redis, the store, scratch and logs have no byte left; then they have."""
    if small_disk is None:
        pytest.skip("mounting a small disk is not permitted here")
    with Farm(small_disk) as farm:
        farm.start()
        rendering = farm.submit("hold full")
        farm.wait_render(rendering)

        filler = _fill(small_disk)
        farm.pull("full")
        with contextlib.suppress(FarmError), farm.impatient() as client:
            # refused or kept: either is an answer, as long as it is true
            farm.acknowledged.append(client.jobs.create("ok", **SMALL).id)
        filler.unlink()

        assert {job.state for job in farm.wait_over(*farm.acknowledged)} == {State.SUCCEEDED}
        farm.settle()
        audit_end(farm)


def _fill(folder: Path) -> Path:
    """Write until there is no room for one byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    out.write(b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return filler
