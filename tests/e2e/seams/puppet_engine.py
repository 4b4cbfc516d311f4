"""An engine whose renders end as their prompts say (`worker.engine = "puppet_engine"`). The process, its pipes and its
files are the real engine's; only the pictures are drawn instead of rendered, so that a test holds the strings.

    ok               render and answer
    slow MS          the same, with MS milliseconds for each step
    hold NAME        after the first step, wait for the file NAME in the folder that E2E_STRINGS names; obeys a cancel
    deaf NAME        the same, obeying nothing
    die NAME         SIGKILL itself after the first step, unless the file NAME is there
    fault CODE NAME  end with that fault, unless the file NAME is there

Every render appends a line to the file `renders` beside those files: render id, process, prompt.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from farm.engine.child import Renders, main
from farm.engine.protocol import Launch
from models import catalog
from models.media.output import write_video
from models.media.poster import write_poster
from models.planning.request import Cancelled, Progress, RenderFault, RenderRequest, RenderResult, Stage

STRINGS = Path(os.environ["E2E_STRINGS"])


def drawn_frames(request: RenderRequest) -> Any:
    """uint8 (T, H, W, 3): a bar that moves over a gradient whose hue is the seed's."""
    frames = np.empty((request.frames, request.height, request.width, 3), np.uint8)
    frames[..., 0] = np.linspace(30, 220, request.width, dtype=np.uint8)[None, None, :]
    frames[..., 1] = np.linspace(200, 40, request.height, dtype=np.uint8)[None, :, None]
    frames[..., 2] = request.seed % 256
    for number, frame in enumerate(frames):
        frame[:, number * request.width // request.frames :][:, :4] = 255
    return frames


class Puppet:
    """models.render.renderer.Renderer's shape."""

    def __init__(self) -> None:
        self._lane: str | None = None

    @property
    def lane(self) -> str | None:
        return self._lane

    def device_facts(self) -> dict[str, Any]:
        return {"name": "puppet", "kind": "cpu"}

    def offered(self) -> Sequence[str]:
        return [model.id for model in catalog.MODELS.values() if model.weights.tiny]

    def prefetch(self, request: RenderRequest) -> Sequence[str]:
        return ()

    def render_frames(
        self, request: RenderRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> "PendingOutput":
        self._lane = catalog.get(request.model).lane
        job = f"{request.provenance.get('job')}:{request.provenance.get('attempt')}"
        with (STRINGS / "renders").open("a") as renders:
            renders.write(f"{job} {os.getpid()} {request.prompt}\n")
        action, _, argument = request.prompt.partition(" ")
        pause_s = float(argument) / 1000 if action == "slow" else 0.0
        for step in range(1, request.steps + 1):
            on_progress(Progress(Stage.DENOISING, step / (request.steps + 1), step, request.steps))
            time.sleep(pause_s)  # what `slow` asks for
            if step == 1:
                self._act(action, argument, cancelled)
            if cancelled() and action != "deaf":
                raise Cancelled
        return PendingOutput(request, on_progress)

    def _act(self, action: str, argument: str, cancelled: Callable[[], bool]) -> None:
        if action in ("hold", "deaf"):
            while not (STRINGS / argument).exists() and not (cancelled() and action == "hold"):
                time.sleep(0.01)  # a file has no signal to wait for
        elif action == "die" and not (STRINGS / argument).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "fault":
            code, _, name = argument.partition(" ")
            if not (name and (STRINGS / name).exists()):
                raise RenderFault(code, "as the prompt asked")


@dataclass(frozen=True)
class PendingOutput:
    request: RenderRequest
    tell: Callable[[Progress], None]

    def finish(self) -> RenderResult:
        request, out = self.request, Path(self.request.out_dir)
        self.tell(Progress(Stage.ENCODING, 0.95, request.steps, request.steps))
        frames = drawn_frames(request)
        recipe = {
            "model": request.model,
            "prompt": request.prompt,
            "seed": request.seed,
            "provenance": dict(request.provenance),
        }
        write_video(out / "video.mp4", frames, request.fps, recipe)
        write_poster(out / "poster.jpg", frames)
        (out / "recipe.json").write_text(json.dumps(recipe))
        return RenderResult(
            video=str(out / "video.mp4"),
            poster=str(out / "poster.jpg"),
            recipe_path=str(out / "recipe.json"),
            recipe=recipe,
            width=request.width,
            height=request.height,
            frames=request.frames,
            fps=request.fps,
            timings={"denoising": 0.0},
        )


def make(_launch: Launch) -> Renders:
    return Puppet()


if __name__ == "__main__":
    main(make)
