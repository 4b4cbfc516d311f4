"""A pool of unequal workers: what a small one does not hold is left to one that does, and costs it no attempt."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_parts import ARTIFACTS, POOL, admit, claimed, new_job, pass_time
from redis import Redis

from farm.config import SchedulingSettings
from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import FailOutcome, Ledger
from farm.scheduling.memory_fit import Memory

SMALL, BIG = Memory(24_000, 64_000), Memory(140_000, 200_000)
#: two ways to render it, and neither is one for the small card
LARGE = "80000:0 30000:70000"
UNFIT = JobFault(FaultCode.DOES_NOT_FIT, "it needs 30 GB")


def seen(ledger: Ledger, **workers: Memory) -> None:
    for name, memory in workers.items():
        told = {"device_bytes": memory.device_mb * 1e6, "host_bytes": memory.host_mb * 1e6, "fp8": memory.fp8}
        ledger.worker_seen(name, POOL, WorkerStatus(memory=told), ttl_s=60)


def unseen(redis: Redis, memory: Memory, seconds: int) -> None:
    """As if workers of that memory had last been seen that long ago."""
    redis.zincrby(f"wf:offered:{POOL}", -seconds * 1000, f"{memory.text}|")


def test_a_large_job_waits_for_a_large_worker_and_burns_no_attempt(ledger: Ledger) -> None:
    seen(ledger, small=SMALL, small2=SMALL, big=BIG)
    (large,) = admit(ledger, new_job(needs=LARGE, max_attempts=1))
    for _ in range(3):
        assert ledger.claim(POOL, "small", memory=SMALL) is None
        assert ledger.claim(POOL, "small2", memory=SMALL) is None
    claim = claimed(ledger, worker="big", memory=BIG)
    assert (claim.job.id, claim.attempt, claim.job.attempts_used) == (large, 1, 0)
    ledger.commit(large, 1, ARTIFACTS, gpu_s=1)


def test_behind_a_whole_batch_of_large_jobs_a_small_worker_finds_its_own(ledger: Ledger) -> None:
    seen(ledger, small=SMALL, big=BIG)
    batch = admit(ledger, *(new_job(needs=LARGE, priority=9) for _ in range(40)))
    own, other = admit(ledger, new_job(needs="9000:60000", lane="a"), new_job(needs="9000:60000", lane="b"))
    # the loaded lane is preferred among what it may take, and the large ones were not passed over by it
    assert claimed(ledger, worker="small", memory=SMALL, loaded="wan-bf16").job.id == own
    assert claimed(ledger, worker="small", memory=SMALL).job.id == other
    assert ledger.claim(POOL, "small", memory=SMALL) is None
    assert [claimed(ledger, worker="big", memory=BIG).job.id for _ in batch] == batch


def test_no_number_of_large_jobs_hides_a_small_one(ledger: Ledger) -> None:
    """Law 7, also where the front of every queue is somebody else's: in a few claims, as an idle agent makes them."""
    seen(ledger, small=SMALL, big=BIG)
    many = [
        admit(ledger, *(new_job(tenant, needs=LARGE) for _ in range(40))) for tenant in map("t{:02}".format, range(20))
    ]
    many.append(admit(ledger, *(new_job("t19", needs=LARGE) for _ in range(600))))
    wanted = admit(ledger, new_job("t19", needs="9000:60000"), new_job("zenith", needs="9000:60000"))
    found = [claim.job.id for _ in range(16) if (claim := ledger.claim(POOL, "small", memory=SMALL))]
    assert sorted(found) == wanted
    # and what is far behind is found while others stand in line before it, and with nothing left there is no harm
    assert ledger.claim(POOL, "small", memory=SMALL) is None
    (late,) = admit(ledger, new_job("t00", needs="9000:60000"))
    assert claimed(ledger, worker="small", memory=SMALL).job.id == late, "it is within the first of its tenant"
    assert sum(map(len, many)) == sum(1 for _ in iter(lambda: ledger.claim(POOL, "big", memory=BIG), None))


def test_the_loaded_lane_does_not_bring_a_large_job(ledger: Ledger, redis: Redis) -> None:
    seen(ledger, small=SMALL, big=BIG)
    large, first, warm = admit(ledger, new_job(needs=LARGE, lane="warm"), new_job(lane="cold"), new_job(lane="warm"))
    assert claimed(ledger, worker="small", memory=SMALL, loaded="warm").job.id == warm
    assert (redis.hget(f"wf:job:{large}", "passes"), redis.hget(f"wf:job:{first}", "passes")) == (None, "1")


def test_other_tenants_are_served_meanwhile(ledger: Ledger) -> None:
    seen(ledger, small=SMALL, big=BIG)
    admit(ledger, new_job("acme", needs=LARGE))
    (small,) = admit(ledger, new_job("zenith", needs="9000:60000"))
    assert claimed(ledger, worker="small", memory=SMALL).job.id == small


def test_a_large_worker_that_restarts_is_waited_for_and_one_that_is_gone_is_not(ledger: Ledger, redis: Redis) -> None:
    """The job then ends with the engine's reason instead of waiting for ever."""
    seen(ledger, small=SMALL, big=BIG)
    (large,) = admit(ledger, new_job(needs=LARGE))
    ledger.worker_gone("big", POOL)
    unseen(redis, BIG, 590)
    assert ledger.claim(POOL, "small", memory=SMALL) is None
    unseen(redis, BIG, 11)
    claim = claimed(ledger, worker="small", memory=SMALL)
    assert ledger.fail(large, claim.attempt, UNFIT)[0] is FailOutcome.FAILED
    job = ledger.find(large)
    assert job is not None
    assert (job.state, job.error_code) == (State.FAILED, "does_not_fit")
    assert redis.zrange(f"wf:offered:{POOL}", 0, -1) == [f"{SMALL.text}|"]


def test_a_worker_that_comes_back_smaller_is_not_waited_for(ledger: Ledger) -> None:
    seen(ledger, small=SMALL, big=BIG)
    (large,) = admit(ledger, new_job(needs=LARGE))
    assert ledger.claim(POOL, "small", memory=SMALL) is None
    seen(ledger, big=SMALL)
    assert claimed(ledger, worker="small", memory=SMALL).job.id == large


def test_what_unexpectedly_did_not_fit_is_tried_on_another_worker(ledger: Ledger, redis: Redis) -> None:
    seen(ledger, big=BIG, big2=BIG)
    (large,) = admit(ledger, new_job(needs=LARGE))
    claim = claimed(ledger, worker="big", memory=BIG)
    assert ledger.fail(large, claim.attempt, UNFIT)[0] is FailOutcome.RETRY
    pass_time(redis, 5)
    assert ledger.claim(POOL, "big", memory=BIG) is None
    again = claimed(ledger, worker="big2", memory=BIG)
    # attempts are bounded all the same
    for worker in ("big", "big2"):
        outcome = ledger.fail(large, again.attempt, UNFIT)[0]
        if outcome is FailOutcome.FAILED:
            break
        pass_time(redis, 10)
        again = claimed(ledger, worker=worker, memory=BIG)
    assert (outcome, again.attempt) == (FailOutcome.FAILED, 3)


def test_a_worker_leaves_nothing_to_what_it_was_itself(ledger: Ledger) -> None:
    seen(ledger, shrunk=BIG, small=SMALL)
    first, second = admit(ledger, new_job(needs=LARGE), new_job(needs=LARGE))
    claim = claimed(ledger, worker="shrunk", memory=SMALL)
    assert claim.job.id == first, "it came back with less"
    assert ledger.fail(first, claim.attempt, UNFIT)[0] is FailOutcome.FAILED
    claim = claimed(ledger, worker="shrunk", memory=BIG)
    assert (claim.job.id, ledger.fail(second, claim.attempt, UNFIT)[0]) == (second, FailOutcome.FAILED)


def test_where_nothing_is_known_anybody_takes_it(ledger: Ledger) -> None:
    first, second = admit(ledger, new_job(needs=LARGE), new_job())
    assert claimed(ledger, worker="small", memory=SMALL).job.id == first, "no worker that holds it was ever seen"
    assert claimed(ledger, worker="small", memory=SMALL).job.id == second
    seen(ledger, big=BIG)
    (third,) = admit(ledger, new_job(needs=LARGE))
    assert claimed(ledger, worker="untold").job.id == third


_MEMORIES = st.builds(Memory, st.integers(1, 30), st.integers(0, 30), st.booleans())
_WAYS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30), st.sampled_from(["", "r"])), min_size=1, max_size=4)


@pytest.mark.usefixtures("ledger")
@given(memory=_MEMORIES, ways=_WAYS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_script_and_farm_fits_keep_one_rule(ledger: Ledger, memory: Memory, ways: list[Any]) -> None:
    needs = " ".join(f"{device}:{host}{rounded}" for device, host, rounded in ways)
    seen(ledger, endless=Memory(fp8=True))
    (job_id,) = admit(ledger, new_job(needs=needs))
    claim = ledger.claim(POOL, "here", memory=memory)
    assert (claim is not None) is memory.holds(needs)
    ledger.cancel("acme", job_id)
    if claim is not None:
        ledger.release(job_id, claim.attempt)


def test_a_large_worker_prefers_what_the_small_ones_do_not_hold(ledger: Ledger) -> None:
    seen(ledger, small=SMALL, small2=SMALL, big=BIG)
    ids = admit(ledger, *[new_job(needs="9000:60000") for _ in range(8)], new_job(needs=LARGE), new_job(needs=LARGE))
    urgent = admit(ledger, new_job(needs="9000:60000", priority=6))
    took = [claimed(ledger, worker="big", memory=BIG).job.id for _ in range(4)]
    # never before a higher priority
    assert took == [*urgent, ids[8], ids[9], ids[0]]
    assert claimed(ledger, worker="small", memory=SMALL).job.id == ids[1]


def test_a_job_is_passed_over_for_a_scarce_worker_only_so_often(ledger: Ledger) -> None:
    seen(ledger, small=SMALL, big=BIG)
    passes = SchedulingSettings().affinity_passes
    first = admit(ledger, new_job(needs="9000:60000"), *[new_job(needs=LARGE) for _ in range(passes + 5)])[0]
    took = [claimed(ledger, worker="big", memory=BIG).job.id for _ in range(passes + 1)]
    assert took.index(first) == passes
