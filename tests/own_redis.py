"""A Redis of the tests' own: the farm's configuration, but without a password, so that a test may reconfigure it."""

import os
from pathlib import Path

from farm.embedded import redis_part

#: another server for the tests of ledger, permits and webhooks, as `make test-old-redis` runs them
SERVER = Path(os.environ["WANFARM_TEST_REDIS"]) if "WANFARM_TEST_REDIS" in os.environ else None


def redis_command(folder: Path, port: int, *, fsync: str = "everysec") -> list[str]:
    """Arguments to start it on `port`, with its data in `folder`. It may be killed, but never loses power: it need not
    sync at every write."""
    return redis_part.command(folder, port, password=None, fsync=fsync, server=SERVER)


def redis_environment() -> dict[str, str]:
    """What its environment has besides, as the farm's has it."""
    return redis_part.environment(SERVER)
