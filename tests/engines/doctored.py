"""The real engine on tiny weights, with two things that no tiny weights have: eyes that see people (a bright half of a
frame is one), and a device that is full. A prompt that begins with "too much" finds it full at every forward; the plans
that it was tried with are lines of the file `full` in the models' folder."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from farm.engine import child
from farm.engine.protocol import Launch


def doctored(launch: Launch) -> child.Renders:
    import torch

    from models.preprocess.persons import SURE, Box, Detector
    from models.render import renderer
    from models.render.pending_output import PendingOutput

    open_eyes = renderer.open_eyes

    def seeing(folder: Path, device: Any, task: str, _sure: float) -> Any:
        eyes = open_eyes(folder, device, task, SURE)
        eyes.detector.people = partial(people, eyes.detector)
        return eyes

    def people(_detector: Detector, frame: Any) -> list[Box]:
        high, wide = frame.shape[:2]
        halves = [(left, left + wide // 2) for left in (0, wide // 2)]
        return [Box(left, 0, right, high, 0.9) for left, right in halves if frame[:, left:right].mean() > 128]

    class Doctored(renderer.Renderer):
        def render_frames(self, request: Any, *rest: Any) -> PendingOutput:
            with self._full() if request.prompt.startswith("too much") else nullcontext():
                return super().render_frames(request, *rest)

        @contextmanager
        def _full(self) -> Iterator[None]:
            def allocate(module: Any, _args: Any) -> None:
                if type(module).__name__ == "WanTransformer3DModel" and self._loaded is not None:
                    with (self.models_dir / "full").open("a") as tried:
                        tried.write(f"{self._loaded.plan.name}\n")
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

            hook = torch.nn.modules.module.register_module_forward_pre_hook(allocate)
            try:
                yield
            finally:
                hook.remove()

    renderer.open_eyes = seeing
    renderer.Renderer = Doctored  # type: ignore[misc]
    return child.real(launch)


if __name__ == "__main__":
    child.main(doctored)
