"""Frames of a render that are not written yet. Finishing them needs no GPU and nothing of the renderer, so another
thread may do it while the next render runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.catalog.model import Model
from models.media import output, poster
from models.planning.request import RenderRequest, RenderResult, Stage
from models.progress.render_monitor import RenderMonitor
from models.provenance import recipe, recipe_file
from models.render import faults
from models.render.generate import RenderedFrames


@dataclass
class PendingOutput:
    """fields: the recipe's fields so far; weights: the folder of weights that made the frames."""

    request: RenderRequest
    model: Model
    made: RenderedFrames
    fields: dict[str, Any]
    weights: Path
    models_dir: Path
    monitor: RenderMonitor

    def finish(self) -> RenderResult:
        """Check, encode and write: video.mp4, poster.jpg, recipe.json in the request's out_dir. Once.

        Raises RenderFault, or Cancelled when the render is no longer wanted.
        """
        return faults.told_apart(self._finish)

    def _finish(self) -> RenderResult:
        out, frames, monitor = Path(self.request.out_dir), self.made.frames, self.monitor
        monitor.enter(Stage.ENCODING)
        output.check_visible(frames)
        fields = {
            **recipe.of_request(self.request),
            **self.fields,
            "weights": recipe.of_weights(self.weights),
            "fused": recipe.of_loras(self.model, self.models_dir),
            "frames_sha256": output.frames_sha256(frames),
            **(self.made.notes or {}),
        }

        def each(done: int) -> None:
            monitor.check()
            monitor.within(done / len(frames))

        output.write_video(out / "video.mp4", frames, self.made.fps, fields, each, sound=self.made.sound)
        fields["poster_frame"] = poster.write_poster(out / "poster.jpg", frames)
        monitor.finish()
        fields["timings_s"] = {stage: round(seconds, 3) for stage, seconds in monitor.timings.items()}
        recipe_file.write(out / "recipe.json", fields)
        return RenderResult(
            video=str(out / "video.mp4"),
            poster=str(out / "poster.jpg"),
            recipe_path=str(out / "recipe.json"),
            recipe=fields,
            width=frames.shape[2],
            height=frames.shape[1],
            frames=frames.shape[0],
            fps=float(self.made.fps),
            timings=monitor.timings,
        )
