"""Which job a claim takes, step by step beside the model: tenants, lanes, lengths and workers that come and go at
random, in one pool with little else, so that every rule of the order decides now and then."""

import random

import pytest
from ledger_model import Model
from ledger_model_lines import AFFINITY_PASSES, AFFINITY_SLACK_S, AFFINITY_WINDOW
from ledger_parts import ARTIFACTS, POOL, new_job
from redis import Redis

from farm.config import RedisSettings, SchedulingSettings, Settings
from farm.jobs.states import Tier
from farm.ledger import Ledger

WEIGHTS = {"a": 1.0, "b": 2.5, "c": 1.0}
STEPS = 250


@pytest.mark.parametrize("seed", range(3))
def test_every_claim_takes_the_job_that_the_rules_name(redis: Redis, redis_settings: RedisSettings, seed: int) -> None:
    chance = random.Random(seed)
    scheduling = SchedulingSettings(
        affinity_slack_s=AFFINITY_SLACK_S, affinity_window=AFFINITY_WINDOW, affinity_passes=AFFINITY_PASSES
    )
    ledger = Ledger(redis, Settings(redis=redis_settings, scheduling=scheduling))
    model = Model(WEIGHTS, {}, {})
    for tenant, weight in WEIGHTS.items():
        redis.hset(f"wf:tenant:{tenant}", "weight", weight)
    running = []
    for _ in range(STEPS):
        what = chance.choices(["admit", "claim", "commit"], [2, 5, 3])[0]
        if what == "admit":
            jobs = [
                new_job(
                    chance.choice("abc"),
                    lane=chance.choice(["warm", "cold"]),
                    predicted_s=chance.choice([10.0, 20.0, 30.0]),
                    priority=chance.choice([5, 5, 5, 9]),
                    tier=chance.choice([Tier.NORMAL] * 9 + [Tier.URGENT]),
                )
                for _ in range(chance.choice([1, 2, 4]))
            ]
            model.admit(jobs)
            ledger.admit(jobs)
        elif what == "claim":
            loaded = chance.choice([None, "warm", "cold", "warm"])
            expected, claim = model.claim(POOL, loaded), ledger.claim(POOL, "w", loaded=loaded)
            assert (claim and claim.job.id) == (expected and expected.new.id)
            if claim and expected:
                running.append((claim, expected))
        elif running:
            claim, job = running.pop(chance.randrange(len(running)))
            gpu_s = chance.choice([4.0, 10.0, 25.0])
            assert model.commit(job, job.attempt, gpu_s) is ledger.commit(
                job.new.id, claim.attempt, ARTIFACTS, gpu_s=gpu_s
            )
        standing = {tenant for tenant in WEIGHTS if redis.exists(f"wf:queue:{POOL}:{tenant}")}
        assert set(redis.zrange(f"wf:fair:{POOL}", 0, -1)) == standing
