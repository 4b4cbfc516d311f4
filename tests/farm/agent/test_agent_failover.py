"""The ledger's and the broker's Redis dies in the middle of renders and of admissions, and a replica takes over."""

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from watched_redis import Admissions, WatchedRedis, watched_redis

from farm.config import S3Settings, Settings
from farm.jobs.ids import new_job_id
from farm.jobs.job import NewJob
from farm.jobs.spec import JobSpec
from farm.jobs.states import TERMINAL, State
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import TENANT, AgentFarm, changed, farm_on
from tests.farm.agent.conftest import short_clocks

pytestmark = pytest.mark.xdist_group("agent_failover")

PRICE, CREDIT = 3, 1_000_000
#: of the soak
FAILOVERS, PROMPTS = 8, ("ok", "slow:1", "slow:2", "slow:3")


def small(prompt: str) -> NewJob:
    spec = JobSpec("actions", "t2v", prompt, "", 64, 64, 5, 8, 4, 4.0, None, 5.0, 7, {}, ())
    return NewJob(new_job_id(), TENANT, spec, "default", "actions", 1.0, 600.0, hold=PRICE)


def settings_on(redis: WatchedRedis, s3: S3Settings, folder: Path, lease_s: float = 15.0) -> Settings:
    base = short_clocks(1, s3, folder)
    lease = {"seconds": lease_s, "stuck_s": 3 * lease_s, "poison_losses": 4}
    return changed(base.model_copy(update={"redis": redis.settings(prefix="watched")}), folder, lease=lease)


def test_no_acknowledged_job_is_lost_or_doubled(tmp_path: Path, s3_server: S3Settings) -> None:
    with (
        watched_redis(tmp_path / "redis") as redis,
        farm_on(settings_on(redis, s3_server, tmp_path), tmp_path / "farm") as farm,
    ):
        farm.ledger.topup(TENANT, CREDIT, reference="once")
        farm.agent()
        go = tmp_path / "go"
        job = small(f"draw:{go}")
        farm.permits.publish(farm.ledger.admit([job])[1])
        farm.wait_state(job.id, State.RUNNING, phase="denoising")
        admissions = Admissions(farm.ledger, lambda: small("ok"), farm.permits.publish)
        admissions.start()
        admissions.wait_more(3)
        dead = redis.kill_primary()
        redis.restart(dead)
        admissions.wait_more(3)
        jobs = [job.id, *admissions.end()]
        assert admissions.refused, "somebody asked while there was no primary"
        go.touch()
        for job_id in jobs:
            farm.committed(job_id)
        laws_hold(farm, jobs)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_again_and_again_at_any_moment(tmp_path: Path, s3_server: S3Settings, soak_seed: int) -> None:
    """The primary is killed or frozen at random moments of renders, commits and admissions, sometimes with an agent."""
    dice, prompts = random.Random(soak_seed), random.Random(f"prompts {soak_seed}")
    with (
        watched_redis(tmp_path / "redis") as redis,
        farm_on(settings_on(redis, s3_server, tmp_path), tmp_path / "farm") as farm,
    ):
        farm.ledger.topup(TENANT, CREDIT, reference="once")
        agents = {slot: farm.agent(slot) for slot in ("cpu-0", "cpu-1")}
        admissions = Admissions(farm.ledger, lambda: small(prompts.choice(PROMPTS)), farm.permits.publish)
        admissions.start()
        for _ in range(FAILOVERS):
            admissions.wait_more(2)
            time.sleep(dice.uniform(0.0, 1.5))
            if dice.random() < 0.3:
                slot = dice.choice(sorted(agents))
                agents[slot].process.kill()
                agents[slot] = farm.agent(slot, ready=False)
            if dice.random() < 0.5:
                redis.restart(redis.kill_primary())
            else:
                frozen = redis.freeze_primary()
                time.sleep(dice.uniform(0.0, 2.0))
                redis.thaw(frozen)
                wait_until(lambda frozen=frozen: redis.follows(frozen), what="the old primary to follow the new one")
        jobs = admissions.end()
        assert admissions.refused
        wait_until(lambda: all(over(farm, job) for job in jobs), 300, "every job to end")
        for job_id in jobs:
            farm.committed(job_id)
        laws_hold(farm, jobs)


def over(farm: AgentFarm, job_id: str) -> bool:
    return farm.job(job_id).state in TERMINAL


@pytest.mark.soak
def test_servers_and_agents_are_upgraded_without_stopping_a_render(tmp_path: Path, s3_server: S3Settings) -> None:
    """The order of docs/operations.md: the replica, the primary after a switch, then one agent after another."""
    with (
        watched_redis(tmp_path / "redis") as redis,
        farm_on(settings_on(redis, s3_server, tmp_path, lease_s=45.0), tmp_path / "farm") as farm,
    ):
        farm.ledger.topup(TENANT, CREDIT, reference="once")
        old = farm.agent("cpu-0")
        job, go = small(f"draw:{tmp_path / 'go'}"), tmp_path / "go"
        farm.permits.publish(farm.ledger.admit([job])[1])
        farm.wait_state(job.id, State.RUNNING, phase="denoising")
        admissions = Admissions(farm.ledger, lambda: small("ok"), farm.permits.publish)
        admissions.start()
        replica = redis.replica
        redis.stop(replica)
        redis.restart(replica)
        admissions.wait_more(2)
        primary = redis.switch()
        wait_until(lambda: redis.role(primary) == "slave", what="the old primary to follow")
        redis.stop(primary)
        redis.restart(primary)
        admissions.wait_more(2)
        new = farm.agent("cpu-1")
        old.process.send_signal(signal.SIGTERM)
        admissions.wait_more(3)
        go.touch()
        done = farm.committed(job.id)
        assert (done.attempt, str(done.worker).endswith(old.slot)) == (1, True), "the render went on all the time"
        assert old.process.wait(60) == 0
        others = admissions.end()
        assert str(farm.committed(others[-1]).worker).endswith(new.slot)
        for job_id in others:
            farm.committed(job_id)
        laws_hold(farm, [job.id, *others])


def laws_hold(farm: AgentFarm, jobs: list[str]) -> None:
    """1 to 4 for jobs that were acknowledged and committed; of the books also what was never acknowledged counts."""
    ledger = farm.ledger
    wait_until(lambda: all(ledger.counts(TENANT)[state] == 0 for state in State if state not in TERMINAL), what="rest")
    ends = Counter(
        event.job for event in ledger.events(TENANT, after="0", count=10_000) if event.data["state"] in TERMINAL
    )
    assert {job: ends[job] for job in jobs} == dict.fromkeys(jobs, 1)
    account = ledger.credit(TENANT)
    assert account is not None
    succeeded = ledger.counts(TENANT)[State.SUCCEEDED]
    assert (account.held, account.balance) == (0, CREDIT - PRICE * succeeded)
    drift: Counter[str] = Counter()
    cursor = None
    while True:
        report = ledger.audit(cursor, 100)
        drift.update(report.drift)
        cursor = report.cursor
        if cursor is None:
            break
    assert not +drift
