"""An engine that renders nothing: it answers at once with files that it made before (`worker.engine`). What is left of
a job's time is the farm's own."""

import json
import shutil
import tempfile
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
from models.planning.request import Progress, RenderRequest, RenderResult, Stage

FRAMES, SIDE, FPS = 5, 64, 8


class Noop:
    """models.render.renderer.Renderer's shape; every job gets the same five frames."""

    def __init__(self) -> None:
        self.lane: str | None = None
        self._files = Path(tempfile.mkdtemp(prefix="wanfarm-noop-"))
        frames = np.full((FRAMES, SIDE, SIDE, 3), 128, np.uint8)
        frames[:, :, : SIDE // 2] = 20
        write_video(self._files / "video.mp4", frames, FPS, {"model": "noop"})
        write_poster(self._files / "poster.jpg", frames)
        (self._files / "recipe.json").write_text(json.dumps({"model": "noop"}))

    def device_facts(self) -> dict[str, Any]:
        return {"name": "noop", "kind": "cpu"}

    def offered(self) -> Sequence[str]:
        return [model.id for model in catalog.MODELS.values() if model.weights.tiny]

    def prefetch(self, request: RenderRequest) -> Sequence[str]:
        return ()

    def render_frames(
        self, request: RenderRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> "NoOutput":
        self.lane = catalog.get(request.model).lane
        on_progress(Progress(Stage.DENOISING, 0.5, 1, 1))
        return NoOutput(self._files, Path(request.out_dir))


@dataclass(frozen=True)
class NoOutput:
    files: Path
    out: Path

    def finish(self) -> RenderResult:
        for name in ("video.mp4", "poster.jpg", "recipe.json"):
            shutil.copyfile(self.files / name, self.out / name)
        return RenderResult(
            video=str(self.out / "video.mp4"),
            poster=str(self.out / "poster.jpg"),
            recipe_path=str(self.out / "recipe.json"),
            recipe={"model": "noop"},
            width=SIDE,
            height=SIDE,
            frames=FRAMES,
            fps=FPS,
            timings={},
        )


def make(_launch: Launch) -> Renders:
    return Noop()


if __name__ == "__main__":
    main(make)
