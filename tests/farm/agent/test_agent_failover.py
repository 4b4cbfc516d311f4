"""The ledger's and the broker's Redis dies in the middle of renders and of admissions, and a replica takes over."""

import signal
import threading
from collections import Counter
from pathlib import Path

import pytest
from watched_redis import WatchedRedis, watched_redis

from farm.config import S3Settings, Settings
from farm.jobs.errors import Unavailable
from farm.jobs.ids import new_job_id
from farm.jobs.job import NewJob
from farm.jobs.spec import JobSpec
from farm.jobs.states import TERMINAL, State
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import TENANT, AgentFarm, changed, farm_on
from tests.farm.agent.conftest import short_clocks

pytestmark = pytest.mark.xdist_group("agent_failover")

PRICE, CREDIT = 3, 1_000_000


class Admissions(threading.Thread):
    """Submits one small job after another as a gateway does for a patient client: each is said again, under its id,
    until it is acknowledged."""

    def __init__(self, farm: AgentFarm) -> None:
        super().__init__(daemon=True)
        self._farm, self._over = farm, threading.Event()
        self.acknowledged: list[str] = []
        self.refused = 0

    def run(self) -> None:
        while not self._over.is_set():
            job = small("ok")
            while True:
                try:
                    _, permits = self._farm.ledger.admit([job])
                    break
                except Unavailable:
                    self.refused += 1
                    self._over.wait(0.05)
            self.acknowledged.append(job.id)
            self._farm.permits.publish(permits)
            self._over.wait(0.1)

    def wait_more(self, count: int) -> None:
        before = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) >= before + count, timeout_s=60, what="more admissions")

    def end(self) -> list[str]:
        self._over.set()
        self.join()
        return self.acknowledged


def small(prompt: str) -> NewJob:
    spec = JobSpec("actions", "t2v", prompt, "", 64, 64, 5, 8, 4, 4.0, None, 5.0, 7, {}, ())
    return NewJob(new_job_id(), TENANT, spec, "default", "actions", 1.0, 600.0, hold=PRICE)


def settings_on(redis: WatchedRedis, s3: S3Settings, folder: Path, lease_s: float = 15.0) -> Settings:
    base = short_clocks(1, s3, folder)
    lease = {"seconds": lease_s, "stuck_s": 3 * lease_s, "poison_losses": 4}
    return changed(base.model_copy(update={"redis": redis.settings(prefix="watched")}), folder, lease=lease)


@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.soak)])
def test_no_acknowledged_job_is_lost_or_doubled(tmp_path: Path, s3_server: S3Settings, kills: int) -> None:
    with (
        watched_redis(tmp_path / "redis") as redis,
        farm_on(settings_on(redis, s3_server, tmp_path), tmp_path / "farm") as farm,
    ):
        farm.ledger.topup(TENANT, CREDIT, reference="once")
        farm.agent()
        jobs: list[str] = []
        for kill in range(kills):
            go = tmp_path / f"go-{kill}"
            job = small(f"draw:{go}")
            farm.permits.publish(farm.ledger.admit([job])[1])
            farm.wait_state(job.id, State.RUNNING, phase="denoising")
            admissions = Admissions(farm)
            admissions.start()
            admissions.wait_more(3)
            dead = redis.kill_primary()
            redis.restart(dead)
            admissions.wait_more(3)
            jobs += [job.id, *admissions.end()]
            assert admissions.refused, "somebody asked while there was no primary"
            go.touch()
            for job_id in jobs:
                farm.committed(job_id)
        laws_hold(farm, jobs)


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
        admissions = Admissions(farm)
        admissions.start()
        replica = redis.replica
        redis.stop(replica)
        redis.restart(replica)
        admissions.wait_more(2)
        primary = redis.switch()
        wait_until(lambda: redis.role(primary) == "slave", timeout_s=60, what="the old primary to follow")
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
