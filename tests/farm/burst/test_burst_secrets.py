"""A key is where the operator put it, and in nothing that the farm writes or shows."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from burst_parts import KEY, TENANT, BuyingFarm, buying, mishap, new_job
from prometheus_client import CollectorRegistry, generate_latest
from redis import Redis

from api.app import create_app
from farm.config import Settings
from farm.exporter.collector import FarmCollector
from farm.jobs.states import State
from farm.storage.store import Store
from monitoring.roles import ProcessRole, register
from tests.api.gateway_thread import served
from tools.provider_simulator.simulator import Simulator


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


def told(here: BuyingFarm, job_id: str) -> Iterator[str]:
    """What the gateway answers about it, to its owner and to an operator."""
    tenants = here.context.tenants
    tenants.create(TENANT)
    client = create_app(here.settings).test_client()
    keys = {role: tenants.api_keys.create(TENANT, role=role)[1] for role in ("member", "operator")}
    for role, path in (
        *(("member", path) for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/explain", "/v1/usage/spend")),
        ("operator", "/v1/admin/purchases?which=all"),
    ):
        answer = client.get(path, headers={"Authorization": f"Bearer {keys[role]}"})
        assert answer.status_code == 200, answer.text
        yield answer.text


def test_a_key_is_in_no_log_record_answer_recipe_or_label(
    settings: Settings, kie: Simulator, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Also not where a provider repeats it in its refusal. Of process lists: test_burst_law.py."""
    caplog.set_level(logging.DEBUG)
    repeats = json.dumps({"code": 401, "msg": f"bad key {KEY}"})
    kie.faults.set(
        [
            mishap("create", "refuse", kind="key", times=1),
            mishap("create", "http", status=400, body=repeats, times=1),
            mishap("create", "drop", times=1),
            mishap("status", "text", times=1),
            mishap("status", "http", status=401, body=repeats, times=1),
            mishap("balance", "http", status=401, body=repeats, times=2),
        ]
    )
    Store(settings.s3).ensure_bucket()
    patient = settings.model_copy(update={"provider_health": settings.provider_health.model_copy(
        update={"bad_key_s": 0.2})})  # fmt: skip
    with ExitStack() as stack:
        url = stack.enter_context(served(create_app(patient)))
        made = buying(patient, {"kie": kie}, public_url=url, balances_every_s=0.1)
        here = stack.enter_context(BuyingFarm(made))
        jobs = here.admit(*(new_job(f"shot {n}") for n in range(3)))
        over = [here.until_over(job_id) for job_id in jobs]
        assert [job.state for job in over] == [State.SUCCEEDED] * 3
        register(ProcessRole.BURST, registry := CollectorRegistry())
        registry.register(FarmCollector(redis, here.settings))
        shown = generate_latest(registry).decode()
        recipes = [
            here.context.store.get_bytes(job.artifacts.recipe, 1 << 20).decode() for job in over if job.artifacts
        ]
        answers = [text for job_id in jobs[:1] for text in told(here, job_id)]
        kept = list(everything(redis))
    # each kind has something in it that the key could stand in
    assert 'wanfarm_provider_submissions_total{outcome="refused",provider="kie"}' in shown
    assert 'wanfarm_provider_balance_usd{account="main",provider="kie"}' in shown
    assert "kie: key: bad key <key>" in caplog.text
    assert "the balance of kie/main: key: bad key <key>" in caplog.text
    assert len(recipes) == 3
    assert all('"key": "main"' in text for text in recipes)
    assert any("purchase:" in text for text in kept)
    written = [*kept, shown, *answers, *recipes, *(record.getMessage() for record in caplog.records), caplog.text]
    assert [text[:200] for text in written if KEY in text] == []
    assert KEY not in repr(here.context.providers.client_of("kie", "main"))
