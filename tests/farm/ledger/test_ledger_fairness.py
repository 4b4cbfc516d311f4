"""Law 6 over time: who gets how many GPU-seconds; and how far the loaded lane may reorder."""

import random

import pytest
from ledger_parts import ARTIFACTS, BROKE, POOL, REFUSED, ByNumber, admit, claimed, new_job, pass_time
from redis import Redis

from farm.config import RedisSettings, SchedulingSettings, Settings
from farm.jobs.job import Claim
from farm.ledger import INTAKE_POOL, Ledger


def weigh(redis: Redis, **weights: float) -> None:
    for tenant, weight in weights.items():
        redis.hset(f"wf:tenant:{tenant}", "weight", weight)


def work(ledger: Ledger, seconds: float, took: dict[str, float] | None = None) -> dict[str, float]:
    """One worker renders for about `seconds`; returns GPU-seconds by tenant. A render takes took[tenant], or what was
    predicted for it."""
    got: dict[str, float] = {}
    while sum(got.values()) < seconds:
        claim = ledger.claim(POOL, "w1")
        if claim is None:
            break
        job = claim.job
        gpu_s = (took or {}).get(job.tenant, job.predicted_s)
        ledger.commit(job.id, claim.attempt, ARTIFACTS, gpu_s=gpu_s)
        got[job.tenant] = got.get(job.tenant, 0.0) + gpu_s
    return got


def test_seconds_go_by_weight_not_by_jobs(ledger: Ledger, redis: Redis) -> None:
    weigh(redis, one=1, two=2, four=4)
    for tenant, predicted_s in (("one", 7.0), ("two", 31.0), ("four", 3.0)):
        admit(ledger, *[new_job(tenant, predicted_s=predicted_s) for _ in range(int(3000 / predicted_s))])
    got = work(ledger, 2100)
    assert abs(got["one"] - 300) <= 31
    assert abs(got["two"] - 600) <= 31
    assert abs(got["four"] - 1200) <= 31


def test_a_tenant_is_charged_what_it_really_took(ledger: Ledger) -> None:
    for tenant in ("honest", "hopeful"):
        admit(ledger, *[new_job(tenant, predicted_s=10.0) for _ in range(120)])
    got = work(ledger, 1000, took={"honest": 10.0, "hopeful": 40.0})
    assert abs(got["honest"] - got["hopeful"]) <= 50


def test_failed_attempts_are_charged_too(ledger: Ledger, redis: Redis) -> None:
    clumsy = admit(ledger, *[new_job("clumsy") for _ in range(40)])
    admit(ledger, *[new_job("neat") for _ in range(40)])
    seconds = {"clumsy": 0.0, "neat": 0.0}
    for _ in range(30):
        claim = claimed(ledger)
        seconds[claim.job.tenant] += 10
        if claim.job.id in clumsy:
            ledger.fail(claim.job.id, claim.attempt, BROKE, gpu_s=10)
        else:
            ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=10)
    assert seconds == {"clumsy": 150, "neat": 150}


def test_what_was_handed_back_is_not_charged(ledger: Ledger) -> None:
    admit(ledger, *[new_job(tenant) for tenant in ("a", "b") for _ in range(5)])
    for _ in range(3):
        claim = claimed(ledger)
        assert claim.job.tenant == "a"
        ledger.release(claim.job.id, claim.attempt)


def test_an_idle_share_is_lent_and_comes_back(ledger: Ledger) -> None:
    admit(ledger, *[new_job("busy") for _ in range(100)])
    assert work(ledger, 300) == {"busy": 300}
    admit(ledger, *[new_job("back") for _ in range(100)])
    got = work(ledger, 200)
    # it shares from now on, and is not paid back what it did not ask for
    assert abs(got["busy"] - got["back"]) <= 20


def test_a_hundred_jobs_of_one_delay_the_first_of_another_by_no_more_than_one(ledger: Ledger) -> None:
    admit(ledger, *[new_job("many") for _ in range(100)])
    claimed(ledger), claimed(ledger)
    [first] = admit(ledger, new_job("few"))
    assert first in {claimed(ledger).job.id, claimed(ledger).job.id}


def test_coming_and_going_gains_nothing(ledger: Ledger) -> None:
    admit(ledger, *[new_job("steady") for _ in range(200)])
    seconds = {"steady": 0.0, "hopper": 0.0}
    for _ in range(100):
        if not ledger.page("hopper", states=["queued"], limit=1).jobs:  # type: ignore[list-item]
            admit(ledger, new_job("hopper"))
        claim = claimed(ledger)
        ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=10)
        seconds[claim.job.tenant] += 10
    assert abs(seconds["steady"] - seconds["hopper"]) <= 20


def test_a_refund_is_not_paid_twice(ledger: Ledger) -> None:
    """A charge that was too high is forgotten when its tenant was lifted to the clock in between."""
    admit(ledger, new_job("one", predicted_s=500))
    long_one = claimed(ledger)
    admit(ledger, *[new_job("other") for _ in range(200)])
    work(ledger, 1000)
    admit(ledger, *[new_job("one") for _ in range(100)])
    ledger.commit(long_one.job.id, 1, ARTIFACTS, gpu_s=1)
    got = work(ledger, 200)
    assert abs(got["one"] - got["other"]) <= 20


def test_random_loads_stay_within_one_job_of_their_share(ledger: Ledger, redis: Redis) -> None:
    chance = random.Random(7)
    weights = {f"t{n}": chance.choice([0.5, 1, 2, 3]) for n in range(6)}
    weigh(redis, **weights)
    for tenant in weights:
        admit(ledger, *[new_job(tenant, predicted_s=chance.uniform(1, 20)) for _ in range(150)])
    got = work(ledger, 900)
    fair = {tenant: 900 * weight / sum(weights.values()) for tenant, weight in weights.items()}
    assert all(abs(got[tenant] - fair[tenant]) <= 21 for tenant in weights)


def test_a_weight_that_makes_no_sense_is_one(ledger: Ledger, redis: Redis) -> None:
    redis.hset("wf:tenant:odd", "weight", "nonsense")
    redis.hset("wf:tenant:none", "weight", "-3")
    admit(ledger, *[new_job(tenant) for tenant in ("odd", "none") for _ in range(20)])
    assert work(ledger, 200) == {"odd": 100, "none": 100}


class TestAffinity:
    @pytest.fixture
    def ledger_settings(self, redis_settings: RedisSettings) -> Settings:
        """A job is passed over so seldom that a few jobs show it."""
        return Settings(redis=redis_settings, scheduling=SchedulingSettings(affinity_passes=4))

    def lanes(self, ledger: Ledger, claims: int, loaded: str) -> list[str]:
        """One after another, so that no bound grows with what is under way."""
        lanes = []
        for _ in range(claims):
            claim = claimed(ledger, loaded=loaded)
            ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=claim.job.predicted_s)
            lanes.append(claim.job.lane)
        return lanes

    def test_the_loaded_lane_goes_first_within_the_window(self, ledger: Ledger) -> None:
        admit(ledger, new_job(lane="cold"), new_job(lane="warm"), new_job(lane="cold"), new_job(lane="warm"))
        assert self.lanes(ledger, 4, "warm") == ["warm", "warm", "cold", "cold"]

    def test_a_job_is_passed_over_only_so_often(self, ledger: Ledger) -> None:
        admit(ledger, new_job(lane="cold"), *[new_job(lane="warm") for _ in range(10)])
        assert self.lanes(ledger, 6, "warm") == ["warm"] * 4 + ["cold", "warm"]

    def test_beyond_the_window_nothing_is_seen(self, ledger: Ledger) -> None:
        admit(ledger, *[new_job(lane="cold") for _ in range(16)], new_job(lane="warm"))
        assert self.lanes(ledger, 2, "warm") == ["cold", "warm"]

    def test_a_higher_priority_is_never_passed_over(self, ledger: Ledger) -> None:
        admit(ledger, new_job(lane="cold", priority=6), new_job(lane="warm", priority=5))
        assert self.lanes(ledger, 2, "warm") == ["cold", "warm"]

    def test_other_loras_of_the_loaded_model_come_before_another_model(self, ledger: Ledger) -> None:
        fox, ink, bare, other = "wan@bf16+fox:both:1", "wan@bf16+ink:low:0.5", "wan@bf16", "wan-4step@bf16+steps"
        admit(ledger, *[new_job(lane=lane) for lane in (other, ink, bare, fox)])
        assert self.lanes(ledger, 4, fox) == [fox, ink, bare, other]
        # no job is passed over more often for that
        admit(ledger, new_job(lane=other), *[new_job(lane=ink) for _ in range(10)])
        assert self.lanes(ledger, 6, fox) == [ink] * 4 + [other, ink]

    def test_a_tenant_whose_turn_is_near_goes_before_only_while_little_is_owed(self, ledger: Ledger) -> None:
        admit(ledger, *[new_job("a", lane="cold", predicted_s=200) for _ in range(9)])
        admit(ledger, *[new_job("b", lane="warm", predicted_s=200) for _ in range(9)])
        # b may be 540 GPU-seconds ahead (scheduling.affinity_slack_s)
        assert [claimed(ledger, loaded="warm").job.tenant for _ in range(9)] == [*"bbbabab", *"ab"]

    def test_without_slack_it_never_chooses_the_tenant(self, redis: Redis, ledger_settings: Settings) -> None:
        strict = SchedulingSettings(affinity_slack_s=0)
        ledger = ByNumber(redis, ledger_settings.model_copy(update={"scheduling": strict}))
        admit(ledger, new_job("a", lane="cold"), new_job("b", lane="warm"), new_job("b", lane="warm"))
        assert [claimed(ledger, loaded="warm").job.tenant for _ in range(2)] == ["a", "b"]

    def test_no_job_is_passed_over_for_other_tenants_more_often_than_for_its_own(self, ledger: Ledger) -> None:
        admit(ledger, new_job("a", lane="cold", predicted_s=1))
        admit(ledger, *[new_job("b", lane="warm", predicted_s=1) for _ in range(9)])
        assert [claimed(ledger, loaded="warm").job.tenant for _ in range(6)] == [*"bbbbab"]

    def test_a_retry_starts_with_a_clean_count(self, ledger: Ledger, redis: Redis) -> None:
        admit(ledger, new_job(lane="cold"), *[new_job(lane="warm") for _ in range(20)])
        self.lanes(ledger, 4, "warm")
        cold = claimed(ledger, loaded="warm")
        assert cold.job.lane == "cold"
        ledger.fail(cold.job.id, 1, BROKE)
        pass_time(redis, 10)
        assert self.lanes(ledger, 5, "warm") == ["warm"] * 4 + ["cold"]


class TestPredictions:
    """A prediction that was wrong costs nobody else."""

    def served(self, ledger: Ledger, workers: int, seconds: float, job_s: float = 60.0) -> dict[str, float]:
        """Workers that render for `seconds` in parallel; GPU-seconds by tenant."""
        got: dict[str, float] = {}
        for _ in range(int(seconds / job_s)):
            claims = [claim for _ in range(workers) if (claim := ledger.claim(POOL, "w"))]
            for claim in claims:
                ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=job_s)
                got[claim.job.tenant] = got.get(claim.job.tenant, 0.0) + job_s
        return got

    def pump(self, ledger: Ledger) -> list[Claim]:
        admit(ledger, *[new_job("first", predicted_s=600, priority=9) for _ in range(8)])
        admit(ledger, *[new_job("first", predicted_s=60) for _ in range(200)])
        return [claimed(ledger) for _ in range(8)]

    def test_a_newcomer_waits_for_nothing_that_was_only_predicted(self, ledger: Ledger) -> None:
        for claim in self.pump(ledger):
            ledger.fail(claim.job.id, claim.attempt, REFUSED, gpu_s=5)
        admit(ledger, *[new_job("late", predicted_s=60) for _ in range(200)])
        got = self.served(ledger, 8, 600)
        assert abs(got["first"] - got["late"]) <= 8 * 60

    def test_also_when_it_comes_while_they_run(self, ledger: Ledger) -> None:
        claims = self.pump(ledger)
        admit(ledger, *[new_job("late", predicted_s=60) for _ in range(200)])
        for claim in claims:
            ledger.fail(claim.job.id, claim.attempt, REFUSED, gpu_s=5)
        got = self.served(ledger, 8, 600)
        assert abs(got["first"] - got["late"]) <= 8 * 60

    def test_the_clock_follows_what_was_used(self, ledger: Ledger) -> None:
        claims = self.pump(ledger)
        for claim in claims:
            ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=600)
        admit(ledger, *[new_job("late", predicted_s=60) for _ in range(200)])
        # it used what nobody else wanted: nothing is owed for that beyond the jobs that had just begun
        got = self.served(ledger, 8, 1200)
        assert abs(got["first"] - got["late"]) <= 8 * 600 + 60


class TestWeights:
    def until(self, ledger: Ledger, tenant: str) -> int:
        """Renders until the tenant's next one."""
        for renders in range(1, 1000):
            claim = claimed(ledger)
            ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=60)
            if claim.job.tenant == tenant:
                return renders
        raise AssertionError(f"{tenant} got nothing")

    def test_a_raised_weight_takes_effect_on_old_debt(self, ledger: Ledger, redis: Redis) -> None:
        weigh(redis, small=0.01, big=1)
        for tenant in ("small", "big"):
            admit(ledger, *[new_job(tenant, predicted_s=60) for _ in range(100)])
        self.until(ledger, "small")
        weigh(redis, small=1)
        assert self.until(ledger, "small") <= 4

    def test_also_while_its_job_runs(self, ledger: Ledger, redis: Redis) -> None:
        weigh(redis, small=0.01, big=1)
        for tenant in ("big", "small"):
            admit(ledger, *[new_job(tenant, predicted_s=60) for _ in range(100)])
        running: list[Claim] = []
        while not running or running[-1].job.tenant != "small":
            running.append(claimed(ledger))
        weigh(redis, small=1)
        for claim in running:
            ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=60)
        # it owes a render like the others, and has none for free
        order = [self.until(ledger, "small") for _ in range(10)]
        assert 15 <= sum(order) <= 25

    def test_a_lowered_weight_counts_from_now_on(self, ledger: Ledger, redis: Redis) -> None:
        weigh(redis, a=4, b=1)
        for tenant in ("a", "b"):
            admit(ledger, *[new_job(tenant) for _ in range(200)])
        work(ledger, 500)
        weigh(redis, a=1)
        got = work(ledger, 400)
        assert abs(got["a"] - got["b"]) <= 40

    def test_one_far_behind_in_a_long_line_is_looked_at_soon(self, ledger: Ledger, redis: Redis) -> None:
        weigh(redis, small=0.01)
        admit(ledger, *[new_job("small", predicted_s=60) for _ in range(5)])
        for n in range(30):
            admit(ledger, *[new_job(f"t{n}", predicted_s=60) for _ in range(40)])
        self.until(ledger, "small")
        weigh(redis, small=1)
        assert self.until(ledger, "small") <= 70


def test_intake_takes_turns(ledger: Ledger) -> None:
    """What is fetched first is no matter of GPU-seconds: tenants take turns, however many jobs one of them sent."""
    admit(ledger, *[new_job("mallory", intake=True, predicted_s=1.0) for _ in range(40)])
    admit(ledger, *[new_job("victim", intake=True, predicted_s=900.0) for _ in range(3)])
    claims = [ledger.claim(INTAKE_POOL, "io") for _ in range(8)]
    took = [claim.job.tenant for claim in claims if claim is not None]
    assert [tenant for tenant in took if tenant == "victim"] == ["victim"] * 3
    assert all("victim" in took[at : at + 2] for at in (0, 2, 4)), took
