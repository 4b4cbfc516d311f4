"""A worker's own trouble is charged to no job: attempts go back uncounted, and the worker says what it misses."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from farm.agent.out_of_service import PAUSE_MAX_S, PAUSE_S, OutOfService, OwnTrouble
from farm.config import Settings
from farm.jobs.states import State
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import AgentFarm, changed, farm_on

pytestmark = pytest.mark.xdist_group("agent_own_trouble")


@pytest.fixture
def farm(farm_settings: Settings, tmp_path: Path) -> Iterator[AgentFarm]:
    redis = farm_settings.redis.model_copy(update={"prefix": f"own{abs(hash(tmp_path)) % 10**6}"})
    settings = changed(farm_settings.model_copy(update={"redis": redis}), tmp_path)
    with farm_on(settings, tmp_path) as farm:
        yield farm


def scratch(farm: AgentFarm) -> Path:
    return farm.settings.state_dir / "scratch" / "cpu-0"


def take_away(folder: Path) -> None:
    """A file stands in the folder's place; the agent, which makes the folder when it misses it, may be quicker."""
    while not folder.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(FileExistsError):
            folder.touch(exist_ok=False)


def test_a_scratch_disk_that_is_gone_fails_nobody(farm: AgentFarm) -> None:
    agent = farm.agent()
    take_away(scratch(farm))
    jobs = farm.submit_many(["ok"] * 5, max_attempts=1)
    wait_until(lambda: agent.facts().get("state") == "out_of_service", what="the worker to be out of service")
    assert "scratch disk cannot be used" in agent.facts()["reason"]
    for job in map(farm.job, jobs):
        assert (job.state, job.attempts_used, job.worker_losses) == (State.QUEUED, 0, 0)
    scratch(farm).unlink()
    for one in jobs:
        assert farm.committed(one).attempts_used == 0
    agent.wait_state("idle")
    assert "reason" not in agent.facts()


def test_a_job_that_finds_the_disk_full_again_and_again_is_counted(farm: AgentFarm) -> None:
    farm.agent()
    job = farm.wait_over(farm.submit("full", max_attempts=2))
    # once for free, then as any other
    assert (job.state, job.error_code, job.attempts_used, job.attempt) == (State.FAILED, "storage_failed", 2, 3)
    assert "/" not in str(job.error_message)


def test_missing_weights_take_the_model_from_the_worker_and_no_attempt_from_the_job(farm: AgentFarm) -> None:
    agent = farm.agent()
    job = farm.submit("on:cpu-0:weightless", max_attempts=1)
    wait_until(lambda: "reason" in agent.facts(), what="the worker to say what it misses")
    assert agent.facts()["reason"] == "the weights of actions are not on this machine"
    agent.wait_state("idle")
    assert agent.facts()["models"] == []
    kept = farm.wait_state(job, State.QUEUED)
    assert (kept.attempts_used, kept.attempt) == (0, 1)
    farm.agent("cpu-1")
    done = farm.committed(job)
    assert (done.attempts_used, str(done.worker).rpartition("/")[2]) == (0, "cpu-1")


def test_a_job_of_a_model_that_no_worker_offers_waits(farm: AgentFarm) -> None:
    farm.agent()
    waits = farm.submit("ok", lane="another@bf16")
    for job in farm.submit_many(["ok"] * 3):
        farm.committed(job)
    job = farm.job(waits)
    assert (job.state, job.attempt) == (State.QUEUED, 0)


class TestOutOfService:
    def test_a_model_is_offered_again_after_a_pause_that_grows(self, tmp_path: Path) -> None:
        now = [0.0]
        service = OutOfService(tmp_path, lambda: now[0])
        for pause_s in (PAUSE_S, 2 * PAUSE_S):
            assert service.report(OwnTrouble("gone", "a"), "job")
            assert service.offered(["a", "b"]) == ["b"]
            now[0] += pause_s - 1
            assert service.missing() == {"a": "gone"}
            now[0] += 1
            assert service.offered(["a", "b"]) == ["a", "b"]
        now[0] += PAUSE_MAX_S + 1
        service.report(OwnTrouble("gone", "a"), "job")
        now[0] += PAUSE_S
        assert service.missing() == {}

    def test_it_looks_by_itself_whether_there_is_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        service = OutOfService(tmp_path)
        assert service.reason() is None
        monkeypatch.setattr("farm.agent.out_of_service.FLOOR_BYTES", 10**18)
        monkeypatch.setattr("farm.agent.out_of_service.FLOOR_PART", 2.0)
        assert "MB left" in str(service.reason())
        monkeypatch.setattr("farm.agent.out_of_service.FLOOR_BYTES", 1)
        assert service.reason() is None


def test_an_attempt_that_cannot_be_started_or_ended_is_not_held(
    farm_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from farm.agent.agent import Agent
    from farm.agent.attempt import Attempt
    from farm.engine.slots import Slot

    redis = farm_settings.redis.model_copy(update={"prefix": "unstarted"})
    settings = changed(farm_settings.model_copy(update={"redis": redis}), tmp_path)
    with farm_on(settings, tmp_path) as farm:
        agent = Agent(settings, Slot("cpu-0"), lambda _why: None, lambda _why: None)
        agent.start()
        try:
            agent.wait_ready()

            def start(_attempt: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            with monkeypatch.context() as patched:
                patched.setattr(Attempt, "start", start)
                job = farm.submit("ok")
                agent.serve("permit")
            found = farm.job(job)
            assert (found.state, found.attempts_used, found.lease_until_ms) == (State.QUEUED, 0, None)
            agent.join()

            def raising(_attempt: Attempt) -> None:
                raise ValueError("what nobody foresaw")

            # one whose end raises is not held either
            with monkeypatch.context() as patched:
                patched.setattr(Attempt, "_tidy", raising)
                agent.serve("permit")
                agent.join()
            assert farm.job(job).state is State.SUCCEEDED
        finally:
            agent.close()
