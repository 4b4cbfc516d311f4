"""Law 9: a bad device is taken out of service and says why; a bad job hurts nobody but itself."""

import hashlib
import os
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.agent.supervisor import EX_QUARANTINED
from farm.config import Settings
from farm.embedded.ports import free_port
from farm.jobs.states import State
from farm.ledger.operations import Actor
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import AgentFarm, changed, children, farm_on

pytestmark = pytest.mark.xdist_group("agent_quarantine")


@pytest.fixture(scope="module")
def farm(farm_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentFarm]:
    folder = tmp_path_factory.mktemp("bad")
    with farm_on(changed(farm_settings, folder, worker={"strikes": 2, "metrics_port": free_port()}), folder) as farm:
        yield farm


@pytest.fixture(autouse=True)
def _begins_alone(farm: AgentFarm) -> Iterator[None]:
    """Each test with healthy devices, and without agents of one that failed."""
    yield
    farm.end_processes()
    shutil.rmtree(farm.settings.state_dir / "health", ignore_errors=True)


def facts(farm: AgentFarm, slot: str, state: str) -> dict[str, Any]:
    wait_until(lambda: (farm.worker(slot) or {}).get("state") == state, what=f"{slot} to be {state}")
    found = farm.worker(slot)
    assert found
    return found


def test_one_bad_device_of_two_costs_no_job(farm: AgentFarm) -> None:
    bad, good = farm.agent("cpu-0", ready=False), farm.agent("cpu-1", ready=False)
    # bad jobs, which fail on either: nobody's fault but theirs
    for prompt in ("poisoned", "exit", "poisoned"):
        for agent in (bad, good):
            agent.wait_state("idle")
        job = farm.wait_over(farm.submit(prompt, max_attempts=2))
        assert (job.state, job.attempt) == (State.FAILED, 2)
    for agent in (bad, good):
        agent.wait_state("idle")
    pages = [urllib.request.urlopen(f"http://{agent.facts()['metrics']}/metrics").read() for agent in (bad, good)]
    assert all(b"wanfarm_device_quarantined 0.0" in page for page in pages)
    assert any(b'wanfarm_device_strikes_total{code="device_fault"}' in page for page in pages)

    def taken_out() -> bool:
        if bad.process.poll() is not None:
            return True
        # one attempt may be lost to the bad device, and no more; how many come to it is a matter of luck
        for job in farm.submit_many(["on:cpu-0:poisoned"] * 2, max_attempts=2):
            assert str(farm.committed(job).worker).endswith("cpu-1")
        return False

    wait_until(taken_out, what="the bad device to be quarantined")
    assert bad.process.wait(90) == EX_QUARANTINED
    told = facts(farm, "cpu-0", "quarantined")
    assert "2 different jobs in a row failed here" in told["reason"]
    assert "device_fault: as asked" in told["reason"]
    assert told["until"].endswith("Z")
    # what is prepared or waits goes on without it
    farm.committed(farm.submit("on:cpu-0:poisoned", max_attempts=1))
    good.process.send_signal(signal.SIGTERM)
    assert good.process.wait(90) == 0


def test_a_lora_that_makes_nan_takes_no_device_away(farm: AgentFarm, tmp_path: Path) -> None:
    """Every number in it is finite, so it was taken."""
    agent = farm.agent("cpu-0")
    data = b"huge weights"
    farm.store.put_bytes("loras/x", data, "application/octet-stream")
    sha256 = hashlib.sha256(data).hexdigest()
    worn = {"id": "x", "name": "x", "sha256": sha256, "key": "loras/x", "size": 12, "expert": "both", "scale": 1.0}
    (tmp_path / "now").touch()
    for _ in range(3):
        job = farm.wait_over(farm.submit(f"spoilt:{tmp_path / 'now'}", max_attempts=1, loras=(worn,)))
        assert job.error_code == "bad_output"
    farm.committed(farm.submit("ok"))
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(90) == 0


def test_a_quarantine_outlives_its_agent_until_somebody_lifts_it(farm: AgentFarm) -> None:
    supervisor = farm.supervisor()
    facts(farm, "cpu-0", "idle")
    farm.submit_many(["poisoned"] * 2, max_attempts=1)
    told = facts(farm, "cpu-0", "quarantined")
    wait_until(lambda: farm.logged("supervisor", "its device is quarantined"), what="the agent to end")
    wait_until(lambda: facts(farm, "cpu-0", "quarantined")["pid"] != told["pid"], what="its successor")
    (agent,) = children(supervisor.pid)
    os.kill(agent, signal.SIGKILL)
    waiting = farm.submit("ok")
    wait_until(lambda: facts(farm, "cpu-0", "quarantined")["pid"] not in (agent, told["pid"]), what="another one")
    after = facts(farm, "cpu-0", "quarantined")
    assert (after["until"], after["reason"]) == (told["until"], told["reason"])
    assert children(after["pid"]) == [], "it starts no engine"
    assert farm.job(waiting).state == State.QUEUED
    farm.ledger.forgive(after["worker"], Actor("key k1", "a new card"))
    farm.committed(waiting)
    assert "reason" not in facts(farm, "cpu-0", "idle")
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(90) == 0
    assert farm.worker("cpu-0") is None
