"""Bad days of a real engine, as whole jobs: what their owners read, and that the next job is none the worse."""

import io
import json

import av
import numpy as np
import pytest
from PIL import Image

from farm.jobs.draft import Draft, Source
from farm.jobs.job import Job
from farm.jobs.states import State
from farm.submission.submit import Submissions
from tests.farm.agent.agent_farm import TENANT, AgentFarm, AgentProcess

pytestmark = pytest.mark.xdist_group("e2e-real")
TI2V, ANIMATE = "wan2.2-ti2v-5b-tiny", "wan2.2-animate-14b-tiny"


def done(farm: AgentFarm, draft: Draft) -> Job:
    submissions = Submissions(farm.settings, farm.ledger, farm.store, farm.permits)
    return farm.wait_over(submissions.submit(TENANT, [draft], wait_inputs=True)[0].id)


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "green").save(out, "PNG")
    return out.getvalue()


def clip(*people: int) -> bytes:
    """A clip at 10 fps with so many people in its frames, as the doctored eyes see them, and no cut."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as box:
        video = box.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 128, 64, "yuv420p"
        for count in people:
            frame = np.full((64, 128, 3), 110, np.uint8)
            frame[:, : 64 * count] = 150
            box.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        box.mux(video.encode(None))
    return out.getvalue()


def test_a_full_device_fails_the_job_after_one_smaller_plan_and_not_the_next_one(
    real: AgentFarm, real_agent: AgentProcess
) -> None:
    engine = real_agent.engine
    asked = {"model": TI2V, "width": 64, "height": 64, "frames": 5, "steps": 2, "seed": 7, "max_attempts": 1}
    failed = done(real, Draft("too much", **asked))  # type: ignore[arg-type]
    assert (failed.state, failed.error_code, failed.attempt) == (State.FAILED, "out_of_memory", 1)
    assert "does not hold this render" in (failed.error_message or "")
    models_dir = real.settings.worker.models_dir
    assert models_dir is not None
    tried = (models_dir / "full").read_text().splitlines()
    assert tried == ["resident", "text encoder visits"]

    after = done(real, Draft("a fox", **asked))  # type: ignore[arg-type]
    assert (after.state, after.error_code) == (State.SUCCEEDED, None)
    assert after.artifacts is not None
    assert json.loads(real.store.get_bytes(after.artifacts.recipe, 100_000))["plan"] == tried[1], "it has learnt"
    assert real_agent.engine == engine


@pytest.mark.parametrize(
    ("people", "words"),
    [
        ((1, 1, 0, *(0,) * 8), "no person is seen in frame 2 (0.20 s)"),
        ((1, 1, 1, 2, 2), "2 people are seen in frame 3 (0.30 s); Animate follows one"),
    ],
    ids=["nobody", "two"],
)
def test_the_owner_of_a_clip_that_cannot_be_followed_reads_which_frame(
    real: AgentFarm, real_agent: AgentProcess, people: tuple[int, ...], words: str
) -> None:
    engine = real_agent.engine
    inputs = {"image": Source(data=png()), "video": Source(data=clip(*people))}
    job = done(real, Draft("she dances", model=ANIMATE, inputs=inputs, steps=1))
    # it is the clip's fault: not tried again, and no strike against the engine
    assert (job.state, job.error_code, job.attempt) == (State.FAILED, "invalid_input", 1)
    assert words in (job.error_message or "")
    assert real_agent.engine == engine
