"""Permits and live workers: nobody idle is left asleep, and the broker is not flooded."""

import pytest
from ledger_parts import ARTIFACTS, BROKE, POOL, admit, claimed, new_job, pass_time
from redis import Redis

from farm.jobs.worker_status import WorkerStatus
from farm.ledger import INTAKE_POOL, Ledger


def workers(ledger: Ledger, count: int, pool: str = POOL) -> None:
    for n in range(count):
        ledger.worker_seen(f"w{n}", pool, WorkerStatus(device=str(n)), ttl_s=60)


def test_without_a_worker_one_permit_wakes_the_one_that_is_about_to_start(ledger: Ledger) -> None:
    _, permits = ledger.admit([new_job() for _ in range(5)])
    assert [permit.pool for permit in permits] == [POOL]
    assert ledger.permits_wanted(POOL) == []


def test_a_burst_of_a_thousand_asks_for_no_more_than_there_are_workers(ledger: Ledger) -> None:
    workers(ledger, 3)
    _, permits = ledger.admit([new_job() for _ in range(1_000)])
    assert len(permits) == 3
    assert len({permit.id for permit in permits}) == 3
    assert ledger.reap().permits == ()


def test_and_no_more_than_there_are_jobs(ledger: Ledger) -> None:
    workers(ledger, 5)
    _, permits = ledger.admit([new_job(), new_job()])
    assert len(permits) == 2


def test_who_finishes_with_a_backlog_left_asks_for_the_next(ledger: Ledger) -> None:
    workers(ledger, 1)
    answers, [permit] = ledger.admit([new_job(), new_job()])
    claim = claimed(ledger, permit=permit.id)
    assert len(ledger.permits_wanted(POOL)) == 1  # the engine is about to be free; the lease goes on for the upload
    ledger.commit(claim.job.id, 1, ARTIFACTS, gpu_s=1)
    assert ledger.permits_wanted(POOL) == []
    assert len(answers) == 2


def test_a_permit_that_found_nothing_is_used_up(ledger: Ledger) -> None:
    [answer], [permit] = ledger.admit([new_job()])
    ledger.cancel("acme", answer.id)
    assert ledger.claim(POOL, "w1", permit=permit.id) is None
    _, permits = ledger.admit([new_job()])
    assert len(permits) == 1


def test_a_lost_permit_is_replaced_while_a_worker_is_idle(ledger: Ledger, redis: Redis) -> None:
    workers(ledger, 1)
    ledger.admit([new_job()])
    assert ledger.reap().permits == ()
    pass_time(redis, 11)
    assert [permit.pool for permit in ledger.reap().permits] == [POOL]


def test_with_every_worker_busy_a_permit_waits_in_the_brokers_queue(ledger: Ledger, redis: Redis) -> None:
    workers(ledger, 1)
    admit(ledger, new_job(), new_job())
    claim = claimed(ledger)  # the permit was for another
    pass_time(redis, 30)
    assert ledger.reap().permits == ()
    ledger.commit(claim.job.id, 1, ARTIFACTS, gpu_s=1)
    assert len(ledger.reap().permits) == 1


def test_a_permit_that_was_lost_while_leases_fill_the_slots_is_replaced_for_whoever_hears_none(
    ledger: Ledger, redis: Redis
) -> None:
    """One uploads its last result, could take the next job, and nobody tells it."""
    workers(ledger, 1)
    admit(ledger, new_job(), new_job())
    claimed(ledger)
    assert ledger.permits_wanted(POOL, heard_none=True) == []  # it may be on its way
    pass_time(redis, 11)
    assert ledger.permits_wanted(POOL) == []
    assert len(ledger.permits_wanted(POOL, heard_none=True)) == 1


def test_a_worker_that_is_not_seen_again_is_not_counted(ledger: Ledger, redis: Redis) -> None:
    workers(ledger, 3)
    pass_time(redis, 61)
    _, permits = ledger.admit([new_job() for _ in range(5)])
    assert len(permits) == 1
    assert ledger.workers() == []


def test_workers_are_listed_with_their_facts(ledger: Ledger) -> None:
    ledger.worker_seen("b", POOL, WorkerStatus(device="H200"), ttl_s=60)
    ledger.worker_seen("a", "other", WorkerStatus(), ttl_s=60)
    ledger.worker_seen("a", POOL, WorkerStatus(device="L4"), ttl_s=60)
    shown = [(w.pool, w.worker, w.status.device) for w in ledger.workers()]
    assert shown == [(POOL, "a", "L4"), (POOL, "b", "H200"), ("other", "a", "")]
    ledger.worker_gone("b", POOL)
    assert [w.worker for w in ledger.workers()] == ["a", "a"]


@pytest.mark.parametrize(("slots", "wanted"), [(0, 1), (1, 1), (4, 4), (50, 6)])
def test_a_worker_with_several_slots_is_woken_for_each(ledger: Ledger, slots: int, wanted: int) -> None:
    ledger.worker_seen("io", INTAKE_POOL, WorkerStatus(), ttl_s=60, slots=slots)
    _, permits = ledger.admit([new_job(intake=True) for _ in range(6)])
    assert [permit.pool for permit in permits] == [INTAKE_POOL] * wanted


def test_every_call_that_makes_work_asks_for_the_permits(ledger: Ledger, redis: Redis) -> None:
    workers(ledger, 1)
    [answer], [first] = ledger.admit([new_job()])
    claimed(ledger, worker="w0", permit=first.id)
    _, [second] = ledger.release(answer.id, 1)
    claimed(ledger, worker="w0", permit=second.id)
    assert ledger.fail(answer.id, 2, BROKE)[1] == []  # delayed: nothing to wake for yet
    pass_time(redis, 5)
    [third] = ledger.reap().permits
    assert claimed(ledger, worker="w0", permit=third.id).attempt == 3


def test_a_backlog_can_be_asked_about(ledger: Ledger) -> None:
    admit(ledger, *[new_job(tenant) for tenant in ("a", "b", "c") for _ in range(2)])
    assert [ledger.claimable(POOL), ledger.claimable(POOL, most=4), ledger.claimable(POOL, most=99)] == [1, 4, 6]
    assert ledger.claimable("other", most=9) == 0


def test_pools_are_woken_apart(ledger: Ledger) -> None:
    _, permits = ledger.admit([new_job(), new_job(pool="other"), new_job(intake=True)])
    assert sorted(permit.pool for permit in permits) == sorted([POOL, "other", INTAKE_POOL])


def test_a_lane_is_as_fast_as_it_was_measured(ledger: Ledger) -> None:
    assert ledger.speeds(POOL) == {}
    for seconds in (2.0, 4.0):
        ledger.rendered(POOL, "wan-bf16", work_tflop=600, seconds=seconds)
    ledger.rendered(POOL, "other", work_tflop=0, seconds=1)  # nothing to learn from
    ledger.rendered("slow", "wan-bf16", work_tflop=600, seconds=60)
    assert {lane: round(speed.tflops) for lane, speed in ledger.speeds(POOL).items()} == {"wan-bf16": 200}


def test_many_that_are_missing_are_reserved_some_at_each_call(ledger: Ledger, redis: Redis) -> None:
    """Of 1,200 idle slots and a long queue; one call for all of them would keep everybody else waiting."""
    ledger.worker_seen("w", POOL, WorkerStatus(), ttl_s=60, slots=1200)
    _, wanted = ledger.admit([new_job() for _ in range(1300)])
    told = [len(wanted)]
    for _ in range(3):
        _, wanted = ledger.admit([new_job()])
        told.append(len(wanted))
    assert told == [500, 500, 200, 0]
    assert redis.zcard(f"wf:permits:{POOL}") == 1200
