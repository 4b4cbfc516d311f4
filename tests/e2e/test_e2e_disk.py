"""A disk without a byte left: whatever was acknowledged waits until there is room again, and is not lost."""

import contextlib
from pathlib import Path

import pytest
from e2e_laws import audit_end
from harness import SMALL, Farm
from host_faults import fill, small_disk

from farm.jobs.errors import FarmError
from farm.jobs.states import State

pytestmark = pytest.mark.xdist_group("e2e-hostile")
DISK_MIB = 24


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """Redis, the store, scratch and logs have no byte left; then they have."""
    folder = tmp_path / "small"
    with small_disk(folder, DISK_MIB) as mounted:
        if not mounted:
            pytest.skip("mounting a small disk is not permitted here")
        # the floor of free space is larger than the whole disk here: it is tried in tests/api/test_storage_limits.py
        with Farm(folder, WANFARM_STORAGE__MIN_FREE_BYTES="0") as farm:
            farm.start()
            rendering = farm.submit("hold full")
            farm.wait_render(rendering)

            filler = fill(folder)
            farm.pull("full")
            with contextlib.suppress(FarmError), farm.impatient() as client:
                # refused or kept: either is an answer, as long as it is true
                farm.acknowledged.append(client.jobs.create("ok", **SMALL).id)
            filler.unlink()

            assert {job.state for job in farm.wait_over(*farm.acknowledged)} == {State.SUCCEEDED}
            farm.settle()
            audit_end(farm)
