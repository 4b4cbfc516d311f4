"""A bench measures on the server that its table is about, or not at all."""

import pytest
from redis import Redis

from bench.report import checked_server
from farm.config import RedisSettings
from farm.ledger import connect


def test_a_table_names_its_server_and_refuses_another(redis: Redis, redis_settings: RedisSettings) -> None:
    with connect(redis_settings) as client:
        assert "appendfsync everysec" in checked_server(client, fsync="everysec")
        with pytest.raises(RuntimeError, match="another server"):
            checked_server(client, fsync="always")
        redis.config_set("appendonly", "no")
        try:
            with pytest.raises(RuntimeError, match="another server"):
                checked_server(client, fsync="everysec")
        finally:
            redis.config_set("appendonly", "yes")
