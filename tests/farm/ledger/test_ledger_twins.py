"""A Redis that lost its last second gives an attempt's number out twice. Only the holder whose claim it kept may
write."""

import copy
import pickle
from collections.abc import Iterator

import pytest
from ledger_parts import ARTIFACTS, BROKE, POOL, admit, claimed, new_job
from redis import Redis

from farm.config import RedisSettings, Settings
from farm.jobs.job import Claim, Fence, NewJob
from farm.jobs.spec import InputRef
from farm.jobs.states import State
from farm.ledger import BURST_POOL, INTAKE_POOL, CommitOutcome, FailOutcome, Ledger, Verdict


@pytest.fixture
def raw_redis(redis_settings: RedisSettings) -> Iterator[Redis]:
    """The ledger's database, in bytes: what DUMP gives."""
    with Redis.from_url(redis_settings.ledger_url) as client:
        yield client


def twins(redis: Redis, ledger: Ledger, job: NewJob, pool: str = POOL) -> tuple[Claim, Claim]:
    """Two holders of attempt 1: the claim of the first is what the server lost."""
    admit(ledger, job)
    kept = {key: redis.dump(key) for key in redis.keys("*")}
    lost = claimed(ledger, pool)
    redis.flushdb()
    for key, value in kept.items():
        redis.restore(key, 0, value)
    return lost, claimed(ledger, pool, "w2")


def test_the_holder_of_a_lost_claim_is_refused_everything(raw_redis: Redis, redis: Redis, ledger: Ledger) -> None:
    lost, held = twins(raw_redis, ledger, new_job())
    assert lost.attempt == held.attempt == 1
    job_id = lost.job.id

    def refused() -> None:
        before = redis.hgetall(f"wf:job:{job_id}")
        assert ledger.heartbeat(job_id, lost.attempt, phase="denoising", progress=0.5) is Verdict.LOST
        assert ledger.commit(job_id, lost.attempt, ARTIFACTS, gpu_s=1) is CommitOutcome.FENCED
        assert ledger.fail(job_id, lost.attempt, BROKE)[0] is FailOutcome.FENCED
        assert ledger.release(job_id, lost.attempt)[0] is FailOutcome.FENCED
        assert ledger.unbuy(job_id, lost.attempt, "n", None)[0] is FailOutcome.FENCED
        assert ledger.intake_done(job_id, lost.attempt, {})[0] is CommitOutcome.FENCED
        assert redis.hgetall(f"wf:job:{job_id}") == before

    refused()
    assert ledger.heartbeat(job_id, held.attempt) is Verdict.GO
    assert ledger.commit(job_id, held.attempt, ARTIFACTS, gpu_s=1) is CommitOutcome.COMMITTED
    refused()
    assert ledger.commit(job_id, held.attempt, ARTIFACTS, gpu_s=1) is CommitOutcome.ALREADY


def test_intake_has_twins_as_well(raw_redis: Redis, ledger: Ledger) -> None:
    lost, held = twins(raw_redis, ledger, new_job(intake=True), INTAKE_POOL)
    stored = {"image": InputRef(key="k")}
    assert ledger.intake_done(lost.job.id, lost.attempt, stored)[0] is CommitOutcome.FENCED
    assert ledger.intake_done(held.job.id, held.attempt, stored)[0] is CommitOutcome.COMMITTED
    assert ledger.intake_done(lost.job.id, lost.attempt, stored)[0] is CommitOutcome.FENCED
    assert ledger.intake_done(held.job.id, held.attempt, stored)[0] is CommitOutcome.ALREADY


def test_whoever_resumes_a_bought_job_shuts_its_buyer_out(ledger: Ledger) -> None:
    [job_id] = admit(ledger, new_job())
    buyer = ledger.buy(job_id, "b", "n1", {"provider": "p"}, price=0)
    assert isinstance(buyer, Claim)
    assert ledger.release(job_id, buyer.attempt)[0] is FailOutcome.RETRY
    resumed = claimed(ledger, BURST_POOL, "b2")
    assert ledger.buy(job_id, "b", "n1", {"provider": "p"}, price=0) is None
    assert ledger.heartbeat(job_id, buyer.attempt) is Verdict.LOST
    assert ledger.commit(job_id, resumed.attempt, ARTIFACTS, gpu_s=0) is CommitOutcome.COMMITTED


def test_a_bare_number_is_nobodys(redis: Redis, ledger_settings: Settings) -> None:
    ledger = Ledger(redis, ledger_settings)
    [job_id] = admit(ledger, new_job())
    claim = claimed(ledger)
    assert ledger.heartbeat(job_id, int(claim.attempt)) is Verdict.LOST
    job = ledger.find(job_id)
    assert job is not None
    assert job.state is State.RUNNING


def test_a_copy_is_the_same_fence() -> None:
    for again in (copy.deepcopy(Fence(3, "n")), pickle.loads(pickle.dumps(Fence(3, "n")))):
        assert Fence.text(again) == "3:n"
