"""Drafts that are made from a finished job: the same again with another prompt, its clip redrawn, or gone on with.
Pure; whoever calls brings the bytes."""

from collections.abc import Mapping

from farm.jobs.draft import Draft, Source
from farm.jobs.errors import Conflict
from farm.jobs.job import Job
from farm.jobs.states import State
from models.catalog import MODELS


def remix(job: Job, prompt: str, inputs: Mapping[str, Source]) -> Draft:
    """Everything as in `job` but the prompt: model, seed, size, length, LoRAs. `inputs` are that job's own."""
    spec = job.spec
    follows = any(role in inputs for role in ("video", "pose_video"))
    return Draft(
        prompt=prompt,
        model=spec.model,
        task=spec.task,
        negative_prompt=spec.negative_prompt,
        width=spec.width,
        height=spec.height,
        # a clip decides its own length and rate
        frames=None if follows else spec.frames,
        fps=None if follows else int(spec.fps),
        steps=spec.steps,
        guidance=spec.guidance,
        guidance_2=spec.guidance_2,
        shift=spec.shift,
        seed=spec.seed,
        inputs=inputs,
        loras=tuple({"lora": one["id"], "scale": one["scale"], "expert": one["expert"]} for one in spec.loras),
        options=spec.options,
    )


def edit(prompt: str, video: Source, job: Job | None = None) -> Draft:
    """A clip redrawn as the prompt says, by VACE. `job`: whose result the clip is, for its size."""
    size = (None, None) if job is None else (job.spec.width, job.spec.height)
    return Draft(prompt=prompt, task="vace", width=size[0], height=size[1], inputs={"video": video})


def extend(job: Job, prompt: str, seconds: float | None, last_frame: Source) -> Draft:
    """A clip that begins with the last frame of `job`, of its size; by its own model where that takes a picture."""
    spec = job.spec
    own = MODELS.get(spec.model)
    return Draft(
        prompt=prompt,
        model=own.id if own is not None and "i2v" in own.tasks else None,
        task="i2v",
        width=spec.width,
        height=spec.height,
        seconds=seconds,
        inputs={"image": last_frame},
    )


def finished(job: Job) -> Job:
    """The job, once it has a result. Raises Conflict."""
    if job.state is not State.SUCCEEDED or job.artifacts is None:
        raise Conflict("the video is not completed, or its file was deleted")
    return job
