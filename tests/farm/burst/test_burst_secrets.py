"""A key is where the operator put it, and in nothing that the farm writes or shows."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from burst_parts import KEY, BuyingFarm, mishap, new_job
from prometheus_client import CollectorRegistry, generate_latest
from redis import Redis

from farm.exporter.collector import FarmCollector
from farm.jobs.states import State
from monitoring.roles import ProcessRole, register
from tools.provider_simulator.simulator import Simulator

Farm = Callable[..., BuyingFarm]


def everything(redis: Redis) -> Iterator[str]:
    """All that Redis keeps, as text."""
    for key in redis.scan_iter(count=1000):
        yield str(key)
        read: dict[str, Callable[[Any], Any]] = {
            "string": redis.get,
            "hash": redis.hgetall,
            "set": redis.smembers,
            "list": lambda name: redis.lrange(name, 0, -1),
            "zset": lambda name: redis.zrange(name, 0, -1, withscores=True),
            "stream": redis.xrange,
        }
        yield str(read[str(redis.type(key))](key))


def test_a_key_is_in_no_log_record_recipe_or_label(
    farm: Farm, kie: Simulator, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Also not where a provider repeats it in its refusal."""
    caplog.set_level(logging.DEBUG)
    kie.faults.set(
        [
            mishap("create", "refuse", kind="key", times=1),
            mishap("create", "http", status=400, body=json.dumps({"code": 401, "msg": f"bad key {KEY}"}), times=1),
            mishap("create", "drop", times=1),
            mishap("status", "text", times=1),
        ]
    )
    here = farm(door=True)
    health = here.settings.provider_health
    assert health.bad_key_s > 0
    jobs = here.admit(*(new_job(f"shot {n}") for n in range(3)))
    here.until(jobs[0], lambda _: here.ledger.decisions(), "a decision")
    here.until(jobs[0], lambda _: kie.ledger()["submits"] >= 1, "an order")
    register(ProcessRole.BURST, registry := CollectorRegistry())
    registry.register(FarmCollector(redis, here.settings))
    refused = 'wanfarm_provider_submissions_total{outcome="refused",provider="kie"}'
    here.until(jobs[0], lambda _: refused in generate_latest(registry).decode(), "a refusal")
    shown = generate_latest(registry).decode()
    written = [*everything(redis), shown, *(record.getMessage() for record in caplog.records), caplog.text]
    for job in here.ledger.find_many(jobs):
        if job is not None and job.state is State.SUCCEEDED and job.artifacts is not None:
            written.append(here.context.store.get_bytes(job.artifacts.recipe, 1 << 20).decode())
    assert [text[:200] for text in written if KEY in text] == []
    assert KEY not in repr(here.context.providers.client_of("kie", "main"))
