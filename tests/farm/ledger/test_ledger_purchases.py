"""Bought jobs: the intent before the submission, and nothing that makes a second one."""

import pytest
from ledger_parts import ARTIFACTS, BROKE, POOL, admit, audit, claimed, new_job, outage, pass_time
from redis import Redis

from farm.jobs.job import Job
from farm.jobs.states import HoldReason, Phase, State
from farm.ledger import BURST_POOL, CommitOutcome, FailOutcome, Ledger, Verdict

PURCHASE = {"provider": "kie", "key": "main", "price": 420}


def found(ledger: Ledger, job_id: str) -> Job:
    job = ledger.find(job_id)
    assert job is not None
    return job


@pytest.fixture
def job_id(ledger: Ledger) -> str:
    return admit(ledger, new_job(hold=10))[0]


def test_the_intent_is_stored_with_the_claim(ledger: Ledger, job_id: str) -> None:
    claim = ledger.buy(job_id, "burst-1", "n1", PURCHASE)
    assert claim is not None
    assert (claim.attempt, claim.job.state, claim.job.phase) == (1, State.RUNNING, Phase.SUBMITTING)
    assert (claim.job.purchase, claim.job.purchase_id, claim.job.worker) == (PURCHASE, None, "burst-1")
    again = ledger.buy(job_id, "burst-1", "n1", PURCHASE)
    assert again is not None
    assert again.attempt == 1
    assert ledger.buy(job_id, "burst-2", "n2", PURCHASE) is None
    assert ledger.claim(POOL, "w1") is None
    assert ledger.claim(BURST_POOL, "burst-2") is None
    assert audit(ledger) == {}


@pytest.mark.parametrize("phase", [Phase.SUBMITTING, Phase.PROVIDER_QUEUED, Phase.GENERATING, Phase.DOWNLOADING])
def test_a_lease_that_runs_out_at_a_provider_is_resumed_and_not_counted(
    phase: Phase, ledger: Ledger, redis: Redis, job_id: str
) -> None:
    for n in range(1, 6):  # more often than a lost worker would be forgiven
        claim = ledger.buy(job_id, "b", "n1", PURCHASE) if n == 1 else ledger.claim(BURST_POOL, f"b{n}")
        assert claim is not None
        if n == 1 and phase is not Phase.SUBMITTING:
            assert ledger.bought(job_id, "n1", "p-77")
            ledger.heartbeat(job_id, claim.attempt, phase=phase, progress=0.5)
        assert claim.attempt == n
        pass_time(redis, 3600)
        report = ledger.reap()
        assert (report.expired, report.resumable) == (0, 1)
        assert ledger.claim(POOL, "w1") is None
        assert ledger.buy(job_id, "b", f"other-{n}", PURCHASE) is None
        assert audit(ledger) == {}
    job = found(ledger, job_id)
    assert (job.state, job.attempts_used, job.worker_losses, job.purchase) == (State.RUNNING, 0, 0, PURCHASE)
    # nobody knows any more whether the submission arrived
    assert job.phase == (Phase.SUBMIT_UNKNOWN if phase is Phase.SUBMITTING else phase)
    assert job.purchase_id == (None if phase is Phase.SUBMITTING else "p-77")
    last = claimed(ledger, BURST_POOL)
    assert ledger.commit(job_id, last.attempt, ARTIFACTS, gpu_s=0) is CommitOutcome.COMMITTED


def test_a_lease_that_runs_out_in_our_own_hands_is_a_lost_worker(ledger: Ledger, redis: Redis, job_id: str) -> None:
    claim = ledger.buy(job_id, "b", "n1", PURCHASE)
    assert claim is not None
    ledger.bought(job_id, "n1", "p-77")
    ledger.heartbeat(job_id, claim.attempt, phase=Phase.UPLOADING, progress=0.9)
    pass_time(redis, 3600)
    assert ledger.reap().expired == 1
    job = found(ledger, job_id)
    assert (job.attempts_used, job.worker_losses, job.state, job.purchase_id) == (1, 1, State.RUNNING, "p-77")
    pass_time(redis, 3600)
    assert ledger.claim(POOL, "w1") is None
    assert claimed(ledger, BURST_POOL).job.id == job_id


def test_the_provider_s_id_is_stored_also_by_one_who_lost_the_lease(ledger: Ledger, redis: Redis, job_id: str) -> None:
    ledger.buy(job_id, "b", "n1", PURCHASE)
    pass_time(redis, 3600)
    ledger.reap()
    assert found(ledger, job_id).phase == Phase.SUBMIT_UNKNOWN
    resumed = claimed(ledger, BURST_POOL)
    assert ledger.bought(job_id, "n1", "p-77")
    assert ledger.bought(job_id, "n1", "p-77")
    assert not ledger.bought(job_id, "n1", "p-78")
    assert not ledger.bought(job_id, "n0", "p-77")
    job = found(ledger, job_id)
    assert (job.phase, job.purchase_id, job.attempt) == (Phase.PROVIDER_QUEUED, "p-77", resumed.attempt)


def test_what_was_not_sent_is_queued_here_again_and_that_name_buys_nothing_more(ledger: Ledger, job_id: str) -> None:
    claim = ledger.buy(job_id, "b", "n1", PURCHASE)
    assert claim is not None
    outcome, permits = ledger.unbuy(job_id, claim.attempt)
    assert outcome is FailOutcome.RETRY
    assert {permit.pool for permit in permits} <= {POOL}
    assert ledger.unbuy(job_id, claim.attempt)[0] is FailOutcome.ALREADY
    assert ledger.buy(job_id, "b", "n1", PURCHASE) is None  # a call that was given up and runs late
    assert not ledger.bought(job_id, "n1", "p-77")
    job = found(ledger, job_id)
    assert (job.state, job.phase, job.purchase, job.attempts_used) == (State.QUEUED, None, None, 0)
    here = claimed(ledger)
    assert ledger.commit(job_id, here.attempt, ARTIFACTS, gpu_s=1) is CommitOutcome.COMMITTED


def test_a_bought_job_that_is_cancelled_is_looked_at_once_more(ledger: Ledger, redis: Redis, job_id: str) -> None:
    claim = ledger.buy(job_id, "b", "n1", PURCHASE)
    assert claim is not None
    assert ledger.cancel("acme", job_id) == "cancelling"
    outage(redis, 3600)
    ledger.reap()
    pass_time(redis, 3600)
    ledger.reap()
    assert found(ledger, job_id).state is State.RUNNING
    resumed = claimed(ledger, BURST_POOL)
    assert ledger.heartbeat(job_id, resumed.attempt) is Verdict.CANCEL
    assert ledger.unbuy(job_id, resumed.attempt)[0] is FailOutcome.CANCELLED


def test_buying_costs_no_share_of_the_gpus(ledger: Ledger) -> None:
    (bought,) = admit(ledger, new_job("buyer", predicted_s=1000.0))
    claim = ledger.buy(bought, "b", "n1", PURCHASE)
    assert claim is not None
    ledger.commit(bought, claim.attempt, ARTIFACTS, gpu_s=0)
    mine, _other = admit(ledger, new_job("buyer"), new_job("other"))
    assert claimed(ledger).job.id == mine  # of two that have used nothing the first by name


def test_only_what_waits_for_a_gpu_can_be_bought(ledger: Ledger) -> None:
    paused, waiting, running, delayed = admit(
        ledger, new_job(held_for=(HoldReason.PAUSED,)), new_job(intake=True), new_job(priority=9), new_job(priority=8)
    )
    assert claimed(ledger).job.id == running
    ledger.fail(delayed, claimed(ledger).attempt, BROKE)
    for job_id in (paused, waiting, running, delayed, "nobody's"):
        assert ledger.buy(job_id, "b", "n1", PURCHASE) is None


@pytest.mark.parametrize("harm", ["nowhere", "in its own queue as well"])
def test_the_audit_puts_a_bought_job_back_where_it_is_resumed(
    harm: str, ledger: Ledger, redis: Redis, job_id: str
) -> None:
    ledger.buy(job_id, "b", "n1", PURCHASE)
    if harm == "nowhere":
        redis.zrem(f"wf:leases:{BURST_POOL}", job_id)
    else:
        redis.zadd(f"wf:queue:{POOL}:acme", {job_id: 1})
    assert ledger.claim(POOL, "w1") is None
    audit(ledger)
    assert audit(ledger) == {}
    assert (ledger.claim(BURST_POOL, "b2") is not None) == (harm == "nowhere")
