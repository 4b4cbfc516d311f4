"""SIGKILL to each part in the middle of a render: every acknowledged job ends once, with one result that downloads."""

import e2e_processes
import pytest
from harness import Farm

from farm.jobs.states import Phase, State
from farm.storage.object_keys import result_prefix

pytestmark = pytest.mark.xdist_group("e2e-kills")


@pytest.mark.parametrize("part", ["gateway", "io", "beat", "s3", "redis"])
def test_a_part_killed_under_a_render_is_not_missed(farm: Farm, part: str) -> None:
    rendering = farm.submit(f"hold {part}")
    farm.wait_render(rendering)
    behind = [farm.submit("ok") for _ in range(2)]
    before = farm.pids(part)

    farm.kill(part)
    meanwhile = farm.submit("ok")
    farm.wait(farm.restarted(part, before), f"a new {part}")
    farm.pull(part)

    jobs = farm.wait_over(rendering, *behind, meanwhile)
    assert [job.state for job in jobs] == [State.SUCCEEDED] * 4


def test_a_frozen_beat_keeps_nobody_waiting(farm: Farm) -> None:
    """It lives, so nobody starts it again, and asks for nothing: who was asked before reaps without it."""
    [beat] = farm.pids("beat")
    farm.freeze("beat")
    job = farm.submit("hold frozen")
    farm.wait_render(job)
    farm.kill("agent", farm.agent_at(job))
    # the dead agent's lease ends by a reap alone
    farm.wait_render(job, times=2)
    assert e2e_processes.state(beat) == "T"
    farm.pull("frozen")

    [ended] = farm.wait_over(job)
    assert ended.state is State.SUCCEEDED


@pytest.mark.parametrize("part", ["engine", "agent"])
def test_a_job_outlives_what_renders_it(farm: Farm, part: str) -> None:
    job = farm.submit(f"hold {part}")
    farm.wait_render(job)
    agent, engine = farm.agent_at(job), farm.renders(job)[0][1]

    farm.kill(part, agent if part == "agent" else engine)
    farm.wait(lambda: not e2e_processes.alive(engine), "the engine to end with its agent")
    farm.wait_render(job, times=2)
    farm.pull(part)

    [ended] = farm.wait_over(job)
    assert ended.state is State.SUCCEEDED
    assert ended.attempt >= 2


def test_no_agent_and_no_engine_outlives_the_supervisor(farm: Farm) -> None:
    job = farm.submit("hold worker")
    farm.wait_render(job)
    below = farm.pids("agent") + farm.pids("engine")
    assert len(below) == 4

    farm.kill("worker")
    farm.wait(lambda: not any(map(e2e_processes.alive, below)), "agents and engines to end with their supervisor")
    farm.pull("worker")

    [ended] = farm.wait_over(job)
    assert ended.state is State.SUCCEEDED


def test_s3_dies_under_an_upload(farm: Farm) -> None:
    job = farm.submit("hold upload")
    farm.wait_render(job)
    ledger = farm.ledger()

    farm.freeze("s3")
    farm.pull("upload")
    farm.wait(lambda: ledger.find(job).phase == Phase.UPLOADING, "the upload to begin")
    farm.kill("s3")

    [ended] = farm.wait_over(job)
    assert ended.state is State.SUCCEEDED


def test_redis_dies_under_a_commit(farm: Farm) -> None:
    job = farm.submit("hold commit")
    farm.wait_render(job)
    store, folder = farm.store(), result_prefix(farm.notes["tenant"], job)

    farm.freeze("redis")
    farm.pull("commit")
    farm.wait(lambda: [one for one in store.list(folder) if one.key.endswith("/video.mp4")], "the upload")
    farm.kill("redis")

    [ended] = farm.wait_over(job)
    assert ended.state is State.SUCCEEDED


def test_a_store_that_refuses_is_waited_for(farm: Farm) -> None:
    job = farm.submit("hold refused")
    farm.wait_render(job)
    ledger, bucket = farm.ledger(), farm.state_dir / "s3" / farm.settings.s3.bucket

    # a file where the bucket was: the server answers, and refuses
    bucket.rename(bucket.with_name("elsewhere"))
    bucket.touch()
    farm.pull("refused")
    farm.wait(lambda: ledger.find(job).phase == Phase.UPLOADING, "an upload that is refused")
    bucket.unlink()
    bucket.with_name("elsewhere").rename(bucket)

    [ended] = farm.wait_over(job)
    assert ended.state is State.SUCCEEDED


@pytest.mark.parametrize("parts", [("agent",), ("agent", "engine")], ids=" and ".join)
def test_a_frozen_worker_cannot_write(farm: Farm, parts: tuple[str, ...]) -> None:
    string = "-".join(("frozen", *parts))
    job = farm.submit(f"hold {string}")
    farm.wait_render(job)
    frozen = {"agent": farm.agent_at(job), "engine": farm.renders(job)[0][1]}

    for part in parts:
        farm.freeze(part, frozen[part])
    farm.wait_render(job, times=2)  # the lease has ended, and the other worker has the job
    farm.pull(string)
    [ended] = farm.wait_over(job)
    assert ended.state is State.SUCCEEDED
    assert ended.attempt >= 2

    for part in parts:
        farm.thaw(part, frozen[part])
    # when both workers render again, the thawed one is through with what it had
    both = [farm.submit(f"hold {string}-after") for _ in range(2)]
    for one in both:
        farm.wait_render(one)
    farm.pull(f"{string}-after")
    farm.wait_over(*both)

    now = farm.job(job)
    assert now == ended.model_copy(update={"result": now.result}), "addresses are renewed, nothing else changes"
    assert now.result is not None
    assert ended.result is not None
    assert now.result.sha256 == ended.result.sha256
    late = f"{result_prefix(farm.notes['tenant'], job)}1-"
    farm.wait(lambda: not farm.store().list(late), "what the late writer uploaded to be removed")


def test_a_job_that_kills_its_worker_twice_is_poisonous(farm: Farm) -> None:
    bad, good = farm.submit("die never"), farm.submit("ok")
    [bad_job, good_job] = farm.wait_over(bad, good)
    assert bad_job.state is State.FAILED
    assert bad_job.error is not None
    assert bad_job.error.code == "poisonous"
    assert len(farm.renders(bad)) <= 2
    assert good_job.state is State.SUCCEEDED


def test_an_engine_that_ignores_a_cancel_is_replaced(farm: Farm) -> None:
    job = farm.submit("deaf never")
    farm.wait_render(job)
    engine = farm.renders(job)[0][1]
    with farm.client as client:
        client.jobs.cancel(job)
    [ended] = farm.wait_over(job)
    assert ended.state is State.CANCELLED
    farm.wait(lambda: not e2e_processes.alive(engine), "the deaf engine to be killed")


def test_a_killed_farm_resumes_its_queue(farm: Farm) -> None:
    jobs = [farm.submit("hold killed") for _ in range(4)]
    farm.wait_render(jobs[0])

    before = {process.pid for process in farm.processes()}
    farm.kill_up()
    farm.start(workers=2)
    farm.pull("killed")

    assert {job.state for job in farm.wait_over(*jobs)} == {State.SUCCEEDED}
    farm.wait(lambda: not any(map(e2e_processes.alive, before)), "everything to end that the killed farm had started")


def test_a_farm_stopped_in_good_order_resumes_its_queue(farm: Farm) -> None:
    jobs = [farm.submit("hold stopped") for _ in range(4)]
    farm.wait_render(jobs[0])

    assert farm.stop_in_a_hurry() == 0
    farm.wait(lambda: not farm.processes(), "every process to end")
    farm.start(workers=2)
    farm.pull("stopped")

    ended = farm.wait_over(*jobs)
    assert {job.state for job in ended} == {State.SUCCEEDED}
