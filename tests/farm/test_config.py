"""Settings that could not work are refused when they are read."""

import pytest
from pydantic import ValidationError

from farm.config import PoolSettings, Settings, WorkerSettings


@pytest.mark.parametrize("changes", [{"worker": WorkerSettings(pool="intake")}, {"pools": {"intake": PoolSettings()}}])
def test_no_pool_may_be_called_as_the_one_where_jobs_wait_for_their_inputs(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="intake"):
        Settings(**changes)  # type: ignore[arg-type]
