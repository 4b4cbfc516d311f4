"""Two jobs in one engine: the next is claimed and made ready while the last is drawn, the last is encoded while the
next is drawn, and neither pays for the other's end."""

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.agent.agent import Agent
from farm.config import Settings
from farm.embedded.ports import free_port
from farm.engine.slots import Slot
from farm.jobs.job import Claim
from farm.jobs.spec import InputRef
from farm.jobs.states import State
from farm.ledger import INTAKE_POOL
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import TENANT, AgentFarm, AgentProcess, changed, farm_on, gone

pytestmark = pytest.mark.xdist_group("agent_overlap")


@pytest.fixture(scope="module")
def farm(farm_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentFarm]:
    folder = tmp_path_factory.mktemp("overlap")
    settings = changed(
        farm_settings,
        folder,
        worker={"metrics_port": free_port(), "strikes": 0},
        # a busy machine takes its time to obey
        lease={"cancel_grace_s": 3.0, "stuck_s": 5.0},
    )
    with farm_on(settings, folder) as farm:
        yield farm


@pytest.fixture(scope="module")
def agent(farm: AgentFarm) -> AgentProcess:
    return farm.agent()


def journal(farm: AgentFarm) -> list[str]:
    """What engines have begun and ended, in order: "drawn JOB"."""
    path = farm.settings.state_dir / "journal"
    return path.read_text().splitlines() if path.exists() else []


def wait_told(farm: AgentFarm, *lines: str) -> None:
    wait_until(lambda: set(lines) <= set(journal(farm)), what=f"the engine to tell {lines} in {farm.folder}")


def two_in_hand(farm: AgentFarm, encoding: str, drawing: str) -> tuple[str, str]:
    """Jobs with these prompts, the first being encoded, the second drawn, by one engine."""
    one, two = farm.submit_many([encoding, drawing], max_attempts=1)
    wait_told(farm, f"finish {one}", f"draw {two}")
    farm.wait_state(two, State.RUNNING, phase="denoising")
    return one, two


def test_the_order_of_events(farm: AgentFarm, agent: AgentProcess, tmp_path: Path) -> None:
    drawn, encoded = tmp_path / "drawn", tmp_path / "encoded"
    one, two, three = farm.submit_many([f"draw:{drawn}", f"encode:{encoded}", "ok"])
    wait_told(farm, f"prepared {two}")
    farm.wait_state(one, State.RUNNING, phase="denoising")
    assert farm.job(three).state == State.QUEUED, "no more than one is held ahead"
    drawn.touch()
    farm.committed(one)
    assert farm.committed(three).attempt == 1
    farm.wait_state(two, State.RUNNING, phase="encoding")
    encoded.touch()
    farm.committed(two)
    told = journal(farm)
    drawing = [f"prepared {two}", f"drawn {one}", f"draw {two}", f"drawn {two}", f"draw {three}", f"drawn {three}"]
    assert [line for line in told if line in drawing] == drawing
    # encoding goes on in threads of its own: only where it must wait is there an order
    encoding = [f"finished {three}", f"finished {two}"]
    assert [line for line in told if line in encoding] == encoding
    assert told.index(f"finished {three}") < told.index(f"finished {two}")
    assert told.index(f"prepare {two}") < told.index(f"drawn {one}")


def test_what_is_encoded_is_not_counted_as_the_devices_time(
    farm: AgentFarm, agent: AgentProcess, tmp_path: Path
) -> None:
    def counted_s() -> float:
        page = urllib.request.urlopen(f"http://{agent.facts()['metrics']}/metrics").read().decode()
        return sum(
            float(line.split()[1]) for line in page.splitlines() if line.startswith("wanfarm_render_seconds_sum")
        )

    before_s, began = counted_s(), time.monotonic()
    job = farm.submit(f"encode:{tmp_path / 'go'}")
    wait_told(farm, f"finish {job}")
    drawn_s = time.monotonic() - began
    # encoding takes longer than everything before it
    wait_until(lambda: time.monotonic() - began > 2.5 * drawn_s, what="time to pass")
    (tmp_path / "go").touch()
    farm.committed(job)
    assert counted_s() - before_s <= drawn_s


def test_a_cancel_reaches_one_of_two(farm: AgentFarm, agent: AgentProcess, tmp_path: Path) -> None:
    engine = agent.engine
    encoding, drawing = two_in_hand(farm, f"encode:{tmp_path / 'never'}", f"draw:{tmp_path / 'a'}")
    farm.ledger.cancel(TENANT, encoding)
    assert farm.wait_over(encoding).state == State.CANCELLED
    assert farm.job(drawing).phase == "denoising"
    (tmp_path / "a").touch()
    farm.committed(drawing)

    encoding, drawing = two_in_hand(farm, f"encode:{tmp_path / 'b'}", f"draw:{tmp_path / 'never'}")
    farm.ledger.cancel(TENANT, drawing)
    assert farm.wait_over(drawing).state == State.CANCELLED
    (tmp_path / "b").touch()
    farm.committed(encoding)
    assert agent.engine == engine


def test_a_job_that_waits_for_the_engine_can_be_cancelled(farm: AgentFarm, agent: AgentProcess, tmp_path: Path) -> None:
    one, two = farm.submit_many([f"draw:{tmp_path / 'go'}", "ok"])
    wait_told(farm, f"prepared {two}")
    farm.ledger.cancel(TENANT, two)
    assert farm.wait_over(two).state == State.CANCELLED
    farm.wait_state(one, State.RUNNING, phase="denoising")
    (tmp_path / "go").touch()
    farm.committed(one)
    assert f"draw {two}" not in journal(farm)


def test_an_engine_that_dies_with_two_in_hand_is_nobodys_fault(
    farm: AgentFarm, agent: AgentProcess, tmp_path: Path
) -> None:
    engine = agent.engine
    jobs = two_in_hand(farm, f"encode:{tmp_path / 'go'}", f"once:{tmp_path / 'flag'}:draw:{tmp_path / 'never'}")
    os.kill(engine, signal.SIGKILL)
    # both are with the agent again; the second would be drawn at once if the first had let go of the engine
    wait_until(lambda: all(farm.job(job).attempt == 2 for job in jobs), what="both to be claimed again")
    (tmp_path / "go").touch()
    for job in jobs:
        done = farm.committed(job)
        assert (done.attempt, done.worker_losses) == (2, 0), "tried again, although it had one attempt only"
    # and neither was put together with anybody again
    again = [line.split() for line in journal(farm) if line.split()[1] in jobs][-8:]
    for lines in (again[:4], again[4:]):
        assert [what for what, _ in lines] == ["draw", "drawn", "finish", "finished"]
        assert len({job for _, job in lines}) == 1


def test_one_that_kills_engines_while_it_is_encoded_hurts_only_itself(
    farm: AgentFarm, agent: AgentProcess, tmp_path: Path
) -> None:
    bad, good = two_in_hand(
        farm, f"encode-fatal:{tmp_path / 'now'}", f"once:{tmp_path / 'flag'}:draw:{tmp_path / 'never'}"
    )
    (tmp_path / "now").touch()
    done = farm.committed(good)
    assert (done.attempt, done.worker_losses) == (2, 0)
    over = farm.wait_over(bad)
    assert (over.state, over.error_code, over.worker_losses) == (State.FAILED, "engine_died", 1)


def test_spoilt_frames_end_the_engine_and_only_their_job(farm: AgentFarm, agent: AgentProcess, tmp_path: Path) -> None:
    engine = agent.engine
    bad, good = two_in_hand(farm, f"encode-spoilt:{tmp_path / 'now'}", f"once:{tmp_path / 'flag'}:slow:1000")
    (tmp_path / "now").touch()
    over, done = farm.wait_over(bad), farm.committed(good)
    assert (over.state, over.error_code) == (State.FAILED, "bad_output")
    assert (done.attempt, done.worker_losses) == (2, 0)
    assert gone(engine)


def test_one_that_is_stuck_while_it_is_encoded_takes_nobody_along(
    farm: AgentFarm, agent: AgentProcess, tmp_path: Path
) -> None:
    bad, good = two_in_hand(farm, "encode-deaf", f"once:{tmp_path / 'flag'}:slow:1000")
    over, done = farm.wait_over(bad), farm.committed(good)
    assert (over.state, over.error_code) == (State.FAILED, "stuck")
    assert (done.attempt, done.worker_losses) == (2, 0)


def test_a_frozen_engine_with_two_in_hand_is_neither_ones_fault(
    farm: AgentFarm, agent: AgentProcess, tmp_path: Path
) -> None:
    jobs = two_in_hand(farm, f"encode:{tmp_path / 'go'}", f"once:{tmp_path / 'flag'}:draw:{tmp_path / 'never'}")
    os.kill(agent.engine, signal.SIGSTOP)
    (tmp_path / "go").touch()
    for job in jobs:
        done = farm.committed(job)
        assert (done.attempt, done.attempts_used, done.worker_losses) == (2, 0, 0)


def test_one_whose_inputs_were_fetched_is_made_ready_ahead_too(
    farm: AgentFarm, agent: AgentProcess, tmp_path: Path
) -> None:
    """The intake has attempts of its own: the number of the first render is not 1 then."""
    one = farm.submit(f"draw:{tmp_path / 'go'}")
    wait_told(farm, f"draw {one}")
    two = farm.submit("ok", inputs={"image": InputRef(url="https://example.org/fox.png")})
    claim = farm.ledger.claim(INTAKE_POOL, "io")
    assert claim
    farm.permits.publish(farm.ledger.intake_done(two, claim.attempt, {})[1])
    wait_told(farm, f"prepared {two}")
    (tmp_path / "go").touch()
    assert [farm.committed(job).attempt for job in (one, two)] == [1, 2]


def test_one_who_idles_because_all_is_too_large_keeps_nobody_from_it(
    farm: AgentFarm, agent: AgentProcess, tmp_path: Path
) -> None:
    small = farm.agent("cpu-1", WANFARM_WORKER__GPU_MEMORY_GB="1")
    one, two = farm.submit_many([f"draw:{tmp_path / 'go'}", "ok"], needs="50000:0")
    wait_told(farm, f"prepared {two}")
    assert small.facts()["state"] == "idle"
    (tmp_path / "go").touch()
    assert [farm.committed(job).attempt for job in (one, two)] == [1, 1]
    # it is told no longer than it is so
    wait_until(lambda: "leaves" not in small.facts(), what="the small one to be asked again")
    small.process.send_signal(signal.SIGTERM)
    assert small.process.wait(90) == 0


def test_a_job_claimed_while_the_agent_was_told_to_end_goes_back(farm: AgentFarm, tmp_path: Path) -> None:
    settings = changed(farm.settings, tmp_path, worker={"pool": "ending"})
    agent = Agent(settings, Slot("cpu-7"), pytest.fail, pytest.fail)
    agent.start()
    assert agent.wait_ready()
    job = farm.submit("slow:1000", pool="ending")
    claim = agent._ledger.claim

    def claim_late(*arguments: Any, **more: Any) -> Claim | None:
        agent.drain()
        return claim(*arguments, **more)

    agent._ledger.claim = claim_late  # type: ignore[method-assign]
    agent.serve("no permit")
    agent.join()
    agent.close()
    assert_handed_back(farm, job)
    assert farm.job(job).attempt == 1
    farm.ledger.cancel(TENANT, job)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_signals_with_two_in_hand(farm: AgentFarm, agent: AgentProcess, tmp_path: Path, number: signal.Signals) -> None:
    if agent.process.poll() is not None:
        agent = farm.agent()
    jobs = two_in_hand(farm, f"encode:{tmp_path / 'go'}", f"draw:{tmp_path / 'go'}")
    ahead = farm.submit("ok")
    wait_told(farm, f"prepared {ahead}")
    os.kill(agent.pid, number)
    if number == signal.SIGTERM:
        wait_until(lambda: agent.facts().get("state") == "draining", what="the agent to drain")
        (tmp_path / "go").touch()
    assert agent.process.wait(90) == 0
    if number == signal.SIGTERM:
        assert [farm.committed(job).attempt for job in jobs] == [1, 1]
    else:
        assert_handed_back(farm, *jobs)
    assert_handed_back(farm, ahead)
    farm.ledger.cancel(TENANT, ahead)


def assert_handed_back(farm: AgentFarm, *jobs: str) -> None:
    for job in map(farm.job, jobs):
        assert (job.state, job.attempts_used, job.worker_losses) == (State.QUEUED, 0, 0)
