"""The real engine, whose device has bad days when a prompt says so (`worker.engine`): real errors of a real GPU, which
no tiny weights bring about by themselves. Without a GPU the same words are said by hand.

slow N      every block of the transformers takes N milliseconds of the device's time
assert      a kernel fails an assertion: the context answers nothing any more
full        the device's memory is full until a smaller plan is tried
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from farm.engine import child
from farm.engine.protocol import Launch

#: a GPU's cycles in a millisecond, about
_CYCLES = 1_700_000


def troubled(launch: Launch) -> child.Renders:
    from models.planning.plan import Where
    from models.render import renderer
    from models.render.pending_output import PendingOutput

    class Troubled(renderer.Renderer):
        def render_frames(self, request: Any, *rest: Any) -> PendingOutput:
            word, _, number = request.prompt.partition(" ")
            trouble: dict[str, Callable[[Any], None]] = {
                "slow": lambda block: self._wait(int(number.split()[0])) if block.endswith("Block") else None,
                "assert": self._fail,
                "full": self._fill,
            }
            with _everywhere(trouble[word]) if word in trouble else nullcontext():
                return super().render_frames(request, *rest)

        def _wait(self, ms: int) -> None:
            import time

            import torch

            if self.device.type == "cuda":
                torch.cuda._sleep(ms * _CYCLES)
            else:
                time.sleep(ms / 1e3)

        def _fail(self, kind: str) -> None:
            import torch

            if kind != "WanTransformer3DModel":
                return
            if self.device.type != "cuda":
                raise RuntimeError("CUDA error: device-side assert triggered")
            table = torch.zeros(4, device=self.device)
            # an index that is not there: the kernel asserts, and the next call hears of it
            table[torch.full((4,), 1 << 20, device=self.device)].sum().item()

        def _fill(self, kind: str) -> None:
            import torch

            loaded = self._loaded
            if kind != "WanTransformer3DModel" or loaded is None or loaded.plan.where is not Where.RESIDENT:
                return
            with (self.models_dir / "full").open("a") as tried:
                tried.write(f"{loaded.plan.name}\n")
            if self.device.type != "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            free, _ = torch.cuda.mem_get_info(self.device)
            held = torch.empty(int(free * 0.9), dtype=torch.uint8, device=self.device)
            torch.empty(int(free * 0.5), dtype=torch.uint8, device=self.device).zero_()
            del held

    renderer.Renderer = Troubled  # type: ignore[misc]
    return child.real(launch)


@contextmanager
def _everywhere(look: Callable[[str], None]) -> Iterator[None]:
    import torch

    hook = torch.nn.modules.module.register_module_forward_pre_hook(lambda module, _: look(type(module).__name__))
    try:
        yield
    finally:
        hook.remove()


if __name__ == "__main__":
    child.main(troubled)
