"""The last jobs of a pool start longest first, and what a tenant is passed over for grows with its renders."""

from ledger_parts import POOL, ByNumber, admit, claimed, new_job
from redis import Redis

from farm.config import SchedulingSettings, Settings
from farm.jobs.states import Tier
from farm.ledger import Ledger


def busy(ledger: Ledger, jobs: int, tenant: str = "others") -> None:
    """So many jobs are under way."""
    admit(ledger, *[new_job(tenant, predicted_s=1) for _ in range(jobs)])
    for _ in range(jobs):
        assert claimed(ledger).job.tenant == tenant


def lengths(ledger: Ledger, claims: int, loaded: str | None = None) -> list[float]:
    return [claimed(ledger, loaded=loaded).job.predicted_s for _ in range(claims)]


def test_the_last_jobs_start_longest_first(ledger: Ledger) -> None:
    busy(ledger, 3)
    admit(ledger, *[new_job(predicted_s=seconds) for seconds in (10, 20, 40, 30)])
    assert lengths(ledger, 4) == [40, 30, 20, 10]


def test_while_more_wait_than_run_the_first_starts_first(ledger: Ledger) -> None:
    busy(ledger, 2)
    admit(ledger, *[new_job(predicted_s=seconds) for seconds in (10, 20, 40, 30)])
    assert lengths(ledger, 4) == [10, 40, 30, 20]


def test_where_a_lower_tier_goes_on_nothing_is_the_last(ledger: Ledger) -> None:
    busy(ledger, 4)
    admit(
        ledger,
        new_job(tier=Tier.ECONOMY, deadline_ms=1_900_000_000_000),
        *[new_job(predicted_s=seconds) for seconds in (10, 20, 40, 30)],
    )
    assert lengths(ledger, 4) == [10, 20, 40, 30]


def test_priority_and_deadline_come_before_length(ledger: Ledger) -> None:
    busy(ledger, 4)
    soon, late = 1_900_000_000_000, 1_900_000_100_000
    admit(ledger, new_job(predicted_s=40), new_job(predicted_s=30, deadline_ms=late))
    admit(ledger, new_job(predicted_s=10, deadline_ms=soon), new_job(predicted_s=20, deadline_ms=soon))
    admit(ledger, new_job(predicted_s=1, priority=9))
    assert lengths(ledger, 5) == [1, 20, 10, 30, 40]


def test_the_loaded_model_comes_before_length(ledger: Ledger) -> None:
    busy(ledger, 4)
    admit(ledger, *[new_job(predicted_s=seconds, lane="cold") for seconds in (10, 90)])
    admit(ledger, *[new_job(predicted_s=seconds, lane="warm") for seconds in (20, 30)])
    assert lengths(ledger, 4, loaded="warm") == [30, 20, 90, 10]


def test_a_tenant_goes_before_for_that_only_while_little_is_owed(ledger: Ledger) -> None:
    slack_s = SchedulingSettings().affinity_slack_s
    busy(ledger, 4)
    admit(ledger, new_job("a", predicted_s=10), *[new_job("b", predicted_s=slack_s + 1) for _ in range(2)])
    assert [claimed(ledger).job.tenant for _ in range(3)] == ["b", "a", "b"]


def test_a_short_job_is_passed_over_only_so_often(redis: Redis, ledger_settings: Settings) -> None:
    scheduling = SchedulingSettings(affinity_passes=2)
    ledger = ByNumber(redis, ledger_settings.model_copy(update={"scheduling": scheduling}))
    busy(ledger, 9)
    admit(ledger, new_job(predicted_s=1))
    took = []
    for _ in range(4):
        admit(ledger, new_job(predicted_s=9))
        took += lengths(ledger, 1)
    assert took == [9, 9, 1, 9]


def test_of_more_last_jobs_than_are_looked_at_long_ones_start_first_too(ledger: Ledger) -> None:
    """Where they stand does not matter, and a large pool passes over one job as long as a small one does."""
    busy(ledger, 240, tenant="acme")
    # the short ones stand first, and none of them may be at the end of a window for ever
    admit(ledger, *[new_job(predicted_s=1 if n < 120 else 100 + n % 50) for n in range(240)])
    took = lengths(ledger, 120)
    assert sum(seconds > 1 for seconds in took) > 100
    assert all(seconds < 120 for seconds in lengths(ledger, 120))


def test_a_tenant_with_many_renders_waits_for_more_of_the_loaded_lane(ledger: Ledger, redis: Redis) -> None:
    """Its turn comes as often as it has GPUs: 540 GPU-seconds are little to one with nine."""
    admit(ledger, *[new_job("a", lane="cold", predicted_s=100) for _ in range(90)])
    admit(ledger, *[new_job("b", lane="warm", predicted_s=100) for _ in range(90)])
    for running, ahead in ((3, 6), (9, 17)):
        while redis.zcard(f"wf:busy:{POOL}:a") < running:
            claimed(ledger, loaded="cold")
        time = redis.zscore(f"wf:fair:{POOL}", "a")
        assert time is not None
        redis.zadd(f"wf:fair:{POOL}", {"b": time})
        redis.hset(f"wf:share:{POOL}", "b", time)
        took = [claimed(ledger, loaded="warm").job.tenant for _ in range(ahead + 1)]
        assert took == ["b"] * ahead + ["a"]
