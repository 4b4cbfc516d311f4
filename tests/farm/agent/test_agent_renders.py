"""One agent and its engine, in good and bad hours, all in one process that is not restarted in between."""

import hashlib
import json
import re
import threading
from pathlib import Path

import pytest

from farm.jobs.spec import InputRef
from farm.jobs.states import State
from farm.ledger.connection import connect
from farm.storage.object_keys import input_key
from farm.tenants.tenants import Tenants
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import TENANT, AgentFarm, AgentProcess, children, gone

pytestmark = pytest.mark.xdist_group("agent_renders")


@pytest.fixture(scope="module")
def agent(farm: AgentFarm) -> AgentProcess:
    # a job from before the agent was there is found at its start
    farm.early = farm.submit("ok")  # type: ignore[attr-defined]
    return farm.agent()


def test_a_job_from_before_the_start_is_done(farm: AgentFarm, agent: AgentProcess) -> None:
    job = farm.committed(farm.early)  # type: ignore[attr-defined]
    assert job.attempt == 1


def test_the_result_is_what_the_engine_made(farm: AgentFarm, agent: AgentProcess) -> None:
    job = farm.committed(farm.submit("ok"))
    assert job.artifacts
    video = farm.store.get_bytes(job.artifacts.video, 1000)
    assert hashlib.sha256(video).hexdigest() == job.artifacts.sha256
    assert (job.artifacts.frames, job.artifacts.fps, job.artifacts.seconds) == (5, 8.0, 5 / 8)
    recipe = json.loads(farm.store.get_bytes(job.artifacts.recipe, 1000))
    assert recipe["provenance"]["job"] == job.id
    assert farm.store.stat(job.artifacts.poster)
    assert job.progress > 0.9
    # what the agent logged of it, for its owner
    told = " / ".join(line.text for line in farm.ledger.lines_of(job.id))
    assert re.fullmatch(
        r"attempt 1: claimed for .+ / .+: inputs on .+ / .+ on the device.* / .+: uploaded in .+", told
    ), told


def test_the_agent_has_no_torch_and_tells_of_itself(farm: AgentFarm, agent: AgentProcess) -> None:
    wait_until(lambda: agent.facts().get("lane") == "actions", what="the lane to be told")
    facts = agent.facts()
    assert facts["torch_loaded"] is False
    assert (facts["device"], facts["models"], facts["slot"]) == ("actions", ["actions"], "cpu-0")


def test_what_its_tenant_wants_signed_does_not_go_out_unsigned(farm: AgentFarm, agent: AgentProcess) -> None:
    with connect(farm.settings.redis) as redis:
        tenants = Tenants(redis, farm.settings)
        tenants.create(TENANT, provenance="required")
        try:
            job = farm.wait_over(farm.submit("ok"))
        finally:
            tenants.set(TENANT, provenance=None)
    # the yard has no certificate: found out before anything is rendered, and not tried again
    assert (job.state, job.error_code, job.attempt) == (State.FAILED, "provenance_required", 1)
    assert not farm.objects(job.id)
    farm.committed(farm.submit("ok"))


def test_inputs_are_on_the_workers_disk(farm: AgentFarm, agent: AgentProcess) -> None:
    data = b"a picture, for all the agent knows"
    sha256 = hashlib.sha256(data).hexdigest()
    key = input_key(TENANT, sha256)
    farm.store.put_bytes(key, data, "image/png")
    farm.committed(farm.submit("ok", inputs={"image": InputRef(key=key, sha256=sha256, content_type="image/png")}))

    missing = farm.wait_over(farm.submit("ok", inputs={"image": InputRef(key="inputs/none", sha256=sha256)}))
    assert (missing.state, missing.error_code) == (State.FAILED, "input_unreachable")
    other = InputRef(key=key, sha256="0" * 64)
    swapped = farm.wait_over(farm.submit("ok", inputs={"image": other}, max_attempts=1))
    assert (swapped.state, swapped.error_code) == (State.FAILED, "storage_failed")


@pytest.mark.parametrize(
    ("prompt", "code", "attempts"),
    [("invalid", "invalid_input", 1), ("error", "engine_error", 2), ("oom", "out_of_memory", 2)],
)
def test_faults_end_a_job_and_hurt_no_other(
    farm: AgentFarm, agent: AgentProcess, prompt: str, code: str, attempts: int
) -> None:
    engine = agent.engine
    job = farm.wait_over(farm.submit(prompt, max_attempts=2))
    assert (job.state, job.error_code, job.attempt) == (State.FAILED, code, attempts)
    assert farm.objects(job.id) == []
    farm.committed(farm.submit("ok"))
    assert agent.engine == engine


def test_a_dead_engine_is_replaced_and_the_job_tried_again(
    farm: AgentFarm, agent: AgentProcess, tmp_path: Path
) -> None:
    for ending in ("sigkill", "exit", "poisoned"):
        engine = agent.engine
        job = farm.committed(farm.submit(f"once:{tmp_path / ending}:{ending}"))
        assert job.attempt == 2
        assert gone(engine)
        # a fault that was reported took no worker with it
        assert job.worker_losses == (0 if ending == "poisoned" else 1)


def test_a_poisonous_job_is_failed_with_the_reason(farm: AgentFarm, agent: AgentProcess) -> None:
    job = farm.wait_over(farm.submit("sigkill", max_attempts=10))
    assert (job.state, job.error_code, job.attempt) == (State.FAILED, "poisonous", 2)
    assert "engine died" in (job.error_message or "")
    farm.committed(farm.submit("ok"))


def test_a_cancel_stops_the_render_and_keeps_the_model_warm(farm: AgentFarm, agent: AgentProcess) -> None:
    engine = agent.engine
    job = farm.submit("slow:1000")
    farm.wait_state(job, State.RUNNING, phase="denoising")
    farm.ledger.cancel(TENANT, job)
    over = farm.wait_over(job)
    assert over.state == State.CANCELLED
    assert farm.objects(job) == []
    farm.committed(farm.submit("ok"))
    assert agent.engine == engine


def test_a_disobedient_engine_is_killed_and_replaced(farm: AgentFarm, agent: AgentProcess) -> None:
    for prompt in ("deaf", "freeze"):
        engine = agent.engine
        job = farm.submit(prompt)
        farm.wait_state(job, State.RUNNING, phase="loading")
        farm.ledger.cancel(TENANT, job)
        assert farm.wait_over(job).state == State.CANCELLED
        assert gone(engine)
        assert farm.logged("cpu-0", f"(pid {engine}): ignored a cancel")
    farm.committed(farm.submit("ok"))


def test_a_runaway_is_stopped_by_the_wall_clock(farm: AgentFarm, agent: AgentProcess) -> None:
    engine = agent.engine
    job = farm.wait_over(farm.submit("slow:1000", wall_s=1.0, max_attempts=1))
    assert (job.state, job.error_code) == (State.FAILED, "too_long")
    assert gone(engine)


def test_a_stuck_engine_is_noticed_by_its_silence(farm: AgentFarm, agent: AgentProcess) -> None:
    engine = agent.engine
    job = farm.wait_over(farm.submit("hang", max_attempts=1))
    assert (job.state, job.error_code) == (State.FAILED, "stuck")
    assert gone(engine)
    farm.committed(farm.submit("ok"))


def test_the_next_job_is_prepared_while_the_last_frames_are_made(
    farm: AgentFarm, agent: AgentProcess, tmp_path: Path
) -> None:
    first, second = farm.submit_many([f"tail:{tmp_path / 'go'}", "ok"])
    farm.wait_state(first, State.RUNNING, phase="decoding")
    # claimed and prepared, while the device still belongs to the first
    assert farm.wait_state(second, State.RUNNING).phase == "assigned"
    (tmp_path / "go").touch()
    farm.committed(first)
    farm.committed(second)


def test_scratch_is_empty_when_nothing_runs(farm: AgentFarm, agent: AgentProcess) -> None:
    scratch = farm.settings.state_dir / "scratch" / "cpu-0"
    wait_until(lambda: not list(scratch.iterdir()), what="scratch to be empty")


def test_no_thread_or_process_is_left_by_many_jobs(farm: AgentFarm, agent: AgentProcess) -> None:
    farm.committed(farm.submit("ok"))
    agent.wait_state("idle")

    def threads() -> int:
        return len(list(Path(f"/proc/{agent.pid}/task").iterdir()))

    before = threads()
    for job in farm.submit_many(["ok"] * 10):
        farm.committed(job)
    agent.wait_state("idle")
    wait_until(lambda: threads() <= before, what="the threads of ten jobs to end")
    assert [child for child in children(agent.pid) if not gone(child)] == [agent.engine]
    assert threading.active_count()
