"""What an attempt, an agent and its engine survive, and what nobody else must notice: kills, freezes, signals."""

import fcntl
import os
import signal
from pathlib import Path

import pytest

from farm.jobs.states import State
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import TENANT, AgentFarm, AgentProcess, children, gone

pytestmark = pytest.mark.xdist_group("agent_survives")


def lock_is_free(farm: AgentFarm, slot: str) -> bool:
    with (farm.settings.state_dir / "engines" / f"{slot}.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def running_on(farm: AgentFarm, agent: AgentProcess, prompt: str) -> str:
    """A job that this very agent renders now."""
    job = farm.submit(prompt)
    running = farm.wait_state(job, State.RUNNING, phase="denoising")
    assert running.worker
    assert running.worker.endswith(agent.slot)
    return job


def test_a_killed_agent_takes_its_engine_along_and_the_job_goes_on_elsewhere(farm: AgentFarm, tmp_path: Path) -> None:
    agent = farm.agent()
    engine = agent.engine
    job = running_on(farm, agent, f"once:{tmp_path / 'first'}:slow:1000")
    os.kill(agent.pid, signal.SIGKILL)
    agent.process.wait()
    wait_until(lambda: gone(engine), what="the engine to end with its agent")
    wait_until(lambda: lock_is_free(farm, "cpu-0"), what="the device to be free")
    successor = farm.agent()
    done = farm.committed(job)
    assert (done.attempt, done.worker_losses) == (2, 1)
    assert not list((farm.settings.state_dir / "scratch" / "cpu-0").glob("*-1")), "files of the killed are removed"
    os.kill(successor.pid, signal.SIGKILL)
    successor.process.wait()


def test_a_frozen_agent_writes_nothing_after_the_thaw(farm: AgentFarm, tmp_path: Path) -> None:
    frozen = farm.agent()
    # its engine goes on and finishes while the agent sleeps
    job = running_on(farm, frozen, f"once:{tmp_path / 'first'}:slow:15")
    os.kill(frozen.pid, signal.SIGSTOP)
    rescuer = farm.agent("cpu-1")
    done = farm.committed(job)
    assert done.attempt == 2
    os.kill(frozen.pid, signal.SIGCONT)
    frozen.wait_state("idle")
    assert farm.committed(job) == done
    os.kill(rescuer.pid, signal.SIGKILL)
    rescuer.process.wait()
    # and it is of use again
    farm.committed(farm.submit("ok"))
    os.kill(frozen.pid, signal.SIGKILL)
    frozen.process.wait()


def test_the_first_signal_drains(farm: AgentFarm, tmp_path: Path) -> None:
    agent = farm.agent()
    running = farm.submit(f"tail:{tmp_path / 'go'}")
    farm.wait_state(running, State.RUNNING, phase="decoding")
    os.kill(agent.pid, signal.SIGTERM)
    wait_until(lambda: farm.logged("cpu-0", "Celery has stopped"), what="Celery to stop")
    waiting = farm.submit("ok")
    (tmp_path / "go").touch()
    assert agent.process.wait(90) == 0
    assert farm.committed(running).attempt == 1
    assert farm.job(waiting).state == State.QUEUED
    assert farm.worker("cpu-0") is None, "it said goodbye"
    farm.ledger.cancel(TENANT, waiting)


@pytest.mark.parametrize("signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGQUIT]])
def test_the_second_signal_hands_back(farm: AgentFarm, signals: list[signal.Signals]) -> None:
    agent = farm.agent()
    engine = agent.engine
    job = running_on(farm, agent, "slow:1000")
    for number in signals:
        os.kill(agent.pid, number)
        if number == signal.SIGTERM and number is signals[0] and agent.process.poll() is None:
            wait_until(lambda: agent.facts().get("state") in ("draining", None), what="the first to be heard")
    assert agent.process.wait(90) == 0
    assert gone(engine)
    back = farm.job(job)
    assert (back.state, back.attempts_used, back.worker_losses) == (State.QUEUED, 0, 0)
    farm.ledger.cancel(TENANT, job)


def test_the_supervisor_keeps_its_agents_and_ends_with_them(farm: AgentFarm) -> None:
    supervisor = farm.supervisor()
    wait_until(lambda: (farm.worker("cpu-0") or {}).get("state") == "idle", what="an agent")
    (first,) = children(supervisor.pid)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: (farm.worker("cpu-0") or {}).get("pid") not in (first, None), what="another agent")
    farm.committed(farm.submit("ok"))

    job = farm.submit("slow:1000")
    farm.wait_state(job, State.RUNNING, phase="denoising")
    (second,) = children(supervisor.pid)
    (engine,) = children(second)
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    wait_until(lambda: gone(second) and gone(engine), what="agent and engine to end with their supervisor")
    assert farm.job(job).state == State.QUEUED, "handed back, not waiting for its lease to run out"

    drained = farm.supervisor()
    farm.wait_state(job, State.RUNNING, phase="denoising")
    drained.send_signal(signal.SIGTERM)
    drained.send_signal(signal.SIGINT)
    assert drained.wait(90) == 0
    assert farm.job(job).state == State.QUEUED
    farm.ledger.cancel(TENANT, job)


def test_a_notice_hands_back_at_the_first_signal_uncounted(farm: AgentFarm) -> None:
    """A machine that is taken away in half a minute gives its render to another one now."""
    spot = farm.supervisor(WANFARM_WORKER__ON_TERM="hand_back")
    job = farm.submit("slow:1000")
    farm.wait_state(job, State.RUNNING, phase="denoising")
    spot.send_signal(signal.SIGTERM)
    assert spot.wait(90) == 0
    back = farm.job(job)
    assert (back.state, back.attempts_used, back.worker_losses) == (State.QUEUED, 0, 0)
    farm.ledger.cancel(TENANT, job)


def test_a_worker_by_the_hour_ends_when_there_is_nothing_left(farm: AgentFarm, tmp_path: Path) -> None:
    job = farm.submit(f"tail:{tmp_path / 'go'}")
    # at once: what waits is claimed first all the same
    hired = farm.supervisor(WANFARM_WORKER__END_WHEN_IDLE_S="0")
    farm.wait_state(job, State.RUNNING, phase="decoding")
    (tmp_path / "go").touch()
    assert hired.wait(90) == 0
    assert farm.committed(job).attempt == 1
    assert farm.worker("cpu-0") is None, "it said goodbye"


def test_a_supervisor_without_its_device_says_so(farm: AgentFarm) -> None:
    from farm.agent import supervisor

    worker = farm.settings.worker.model_copy(update={"devices": "99"})
    assert supervisor.main(farm.settings.model_copy(update={"worker": worker})) == 2
