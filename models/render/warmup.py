"""Rendering something small in every other respect than its shape, so that the first job of that shape waits for
nothing: weights are loaded, kernels compiled or read back, memory is laid out."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from models import catalog
from models.acceleration import lossy
from models.catalog import options
from models.catalog.model import Model, ShapeError
from models.catalog.shape import Settled
from models.planning.request import RenderRequest

#: enough that both experts take a step
_STEPS = 4


def requests_of(shape: str, folder: Path) -> list[RenderRequest]:
    """The renders that warm `shape`, "MODEL WIDTHxHEIGHTxFRAMES": one for each of the model's pipelines, since TI2V-5B
    computes its blocks in another way when it is given a picture. Blank pictures are written into the folder.

    ShapeError when the model is unknown, does not render that, or starts from a clip.
    """
    found = re.fullmatch(r"(\S+) (\d+)x(\d+)x(\d+)", shape.strip())
    if found is None:
        raise ShapeError("warm", f"{shape!r} is not of the form MODEL WIDTHxHEIGHTxFRAMES")
    model = catalog.get(found[1])
    width, height, frames = (int(number) for number in found.groups()[1:])
    steps = min(max(_STEPS, model.limits.min_steps), model.limits.max_steps)
    asked = {"width": width, "height": height, "frames": frames, "steps": steps}
    return [_request(catalog.settle(model, task, asked), folder / task) for task in _tasks(model)]


def _request(settled: Settled, folder: Path) -> RenderRequest:
    model, task, width, height = settled.model, settled.task, settled.width, settled.height
    out = folder / "out"
    out.mkdir(parents=True)
    return RenderRequest(
        model=model.id,
        task=task,
        prompt="warm-up",
        negative_prompt="",
        width=width,
        height=height,
        frames=settled.frames,
        fps=settled.fps,
        steps=settled.steps,
        guidance=settled.guidance,
        guidance_2=settled.guidance_2,
        # a middling shift gives every expert its share of so few steps
        shift=5.0,
        seed=0,
        out_dir=str(out),
        inputs={role: str(_blank(folder / f"{role}.png", width, height)) for role in model.tasks[task]},
    )


def warm(renderer: Any, shape: str) -> None:
    """Render it and throw the results away. Raises what the renderer raises, and ShapeError."""
    with tempfile.TemporaryDirectory(prefix="wanfarm-warm-") as folder:
        for request in requests_of(shape, Path(folder)):
            renderer.render(request, lambda _: None, lambda: False)


def calibrate(renderer: Any, shape: str, prompt: str) -> Path:
    """Render `shape` in the model's own steps, measuring what MagCache needs; returns the file. Raises as warm does."""
    model = catalog.get(shape.split(maxsplit=1)[0])
    if not any("mag" in options.lossy_for(model, task) for task in model.tasks):
        raise ShapeError("model", f"mag is not right for {model.id}")
    file = lossy.ratios_file(renderer.models_dir, model)
    with tempfile.TemporaryDirectory(prefix="wanfarm-calibrate-") as folder:
        first = replace(requests_of(shape, Path(folder))[0], prompt=prompt, shift=model.defaults.shift)
        # loads the model and sets the schedule that the experts' steps are counted by
        renderer.render(first, lambda _: None, lambda: False)
        pipe = renderer.pipe_for(first.task)
        with lossy.calibrating(pipe, model.defaults.steps, file):
            renderer.render(replace(first, steps=model.defaults.steps), lambda _: None, lambda: False)
    return file


def _tasks(model: Model) -> list[str]:
    """The first of each pipeline that starts from no clip."""
    found: dict[str, str] = {}
    for task, roles in model.tasks.items():
        if "video" not in roles:
            found.setdefault(model.pipeline[task], task)
    if not found:
        raise ShapeError("warm", f"{model.id} starts from a clip; it is warmed by its first job")
    return list(found.values())


def _blank(path: Path, width: int, height: int) -> Path:
    from PIL import Image

    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(path)
    return path
