"""Watching a render from inside: where it is, how long each stage took, and stopping it within a block's time.

A pipeline has no way out but an exception, so every look at `cancelled` raises; the renderer puts the model right.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from models.planning.request import Cancelled, Progress, Stage
from models.progress.launch_throttle import LaunchThrottle, pace_on
from models.progress.progress_plan import UNKNOWN, ProgressPlan

#: progress is told again only when it has grown by this much, so that a fast model does not flood its agent
_GRAIN = 0.004


class RenderMonitor:
    """One render's progress and cancellation. `timings` is stage -> seconds."""

    def __init__(self, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]) -> None:
        self._tell, self._cancelled = on_progress, cancelled
        self._progress_plan = UNKNOWN
        self._pace = LaunchThrottle(None)
        self._stage = Stage.LOADING
        self._within: dict[Stage, float] = {}
        self._told = -1.0
        self._entered = time.monotonic()
        self._step = 0
        self._blocks = 0
        self._decodes = 0
        self.timings: dict[str, float] = {}

    @property
    def stage(self) -> Stage:
        """Where the render is."""
        return self._stage

    def check(self, *_: Any) -> None:
        """Raise Cancelled when the render is no longer wanted."""
        if self._cancelled():
            raise Cancelled

    def follow(self, progress_plan: ProgressPlan) -> None:
        """From now on the render divides so. Progress never goes back, whatever the new course says."""
        self._progress_plan = progress_plan

    def enter(self, stage: Stage) -> None:
        """A stage begins; the one before it ends."""
        self.check()
        now = time.monotonic()
        self.timings[self._stage] = self.timings.get(self._stage, 0.0) + now - self._entered
        changed = stage != self._stage or self._told < 0
        self._stage, self._entered = stage, now
        self._say(force=changed)

    def within(self, share: float) -> None:
        """How far the current stage is, [0, 1]."""
        self._within[self._stage] = max(self._within.get(self._stage, 0.0), min(1.0, share))
        self._say()

    def step_done(self) -> None:
        """One more denoising step is done, or as good as done by the device."""
        self._pace.keep()
        self._step += 1
        self._blocks = 0
        if self._stage is not Stage.DENOISING:
            self.enter(Stage.DENOISING)
        self._within[Stage.DENOISING] = min(1.0, self._step / self._progress_plan.steps)
        self._say(force=True)
        self.check()

    def again(self) -> None:
        """The render starts again; progress never goes back: it is reported again once it exceeds what was reported."""
        self._within.clear()
        self._step = self._blocks = self._decodes = 0

    def finish(self) -> None:
        """The end of the last stage."""
        now = time.monotonic()
        self.timings[self._stage] = self.timings.get(self._stage, 0.0) + now - self._entered
        self._entered = now
        self._within[self._stage] = 1.0
        self._say(force=True)

    @contextmanager
    def inside(self, pipe: Any) -> Iterator[None]:
        """While this lasts, every block of the pipeline's models looks whether the render is still wanted. The text
        encoder may meanwhile work for the next render in another thread, which is not asked."""
        undo: list[Callable[[], Any]] = []
        ours = threading.get_ident()

        def check_ours() -> None:
            if threading.get_ident() == ours:
                self.check()

        self._pace = pace_on(pipe._execution_device)
        try:
            for name in ("transformer", "transformer_2"):
                expert = getattr(pipe, name, None)
                if expert is not None:
                    undo += [_before(block, self._before_block) for block in expert.blocks]
            for block in _text_blocks(getattr(pipe, "text_encoder", None)):
                undo.append(_before(block, check_ours))
            vae = getattr(pipe, "vae", None)
            if vae is not None:
                undo.append(_before(vae.encoder, self.check))
                undo.append(_before(vae.decoder, self._before_decode))
            yield
        finally:
            for back in undo:
                back()

    def _before_block(self) -> None:
        self._pace.keep()
        self.check()
        if self._stage is not Stage.DENOISING:
            self.enter(Stage.DENOISING)
        self._blocks += 1
        inside = min(self._blocks / max(1, self._progress_plan.blocks), 1.0)
        self._within[Stage.DENOISING] = min(1.0, (self._step + inside) / self._progress_plan.steps)
        self._say()

    def _before_decode(self) -> None:
        self._pace.keep()
        self.check()
        if self._stage is not Stage.DECODING:
            self.enter(Stage.DECODING)
        self.within(self._decodes / max(1, self._progress_plan.decodes))
        self._decodes += 1

    def _say(self, force: bool = False) -> None:
        parts = self._progress_plan.parts
        now = sum(share * self._done(stage) for stage, share in parts.items())
        fraction = max(self._told, min(1.0, now))
        if force or fraction - self._told >= _GRAIN:
            self._told = fraction
            steps = 0 if self._progress_plan is UNKNOWN else self._progress_plan.steps
            self._tell(Progress(self._stage, round(fraction, 4), self._step, steps))

    def _done(self, stage: Stage) -> float:
        """Denoising and decoding take turns (Animate's segments): only encoding, which is last, closes them."""
        order = list(Stage)
        if order.index(stage) < order.index(self._stage):
            if self._stage is Stage.ENCODING or stage in (Stage.LOADING, Stage.PREPROCESSING):
                return 1.0
            return self._within.get(stage, 1.0)
        return self._within.get(stage, 0.0)


def _text_blocks(encoder: Any) -> list[Any]:
    return list(encoder.encoder.block) if encoder is not None else []


def _before(module: Any, call: Callable[[], None]) -> Callable[[], Any]:
    """Run `call` before every forward of the module; returns how to undo it.

    A compiled module is wrapped from outside: a hook inside would be traced into the graph.
    """
    compiled = getattr(module, "_compiled_call_impl", None)
    if compiled is None:
        handle: Any = module.register_forward_pre_hook(lambda *_: call())
        return handle.remove

    def watched(*args: Any, **kwargs: Any) -> Any:
        call()
        return compiled(*args, **kwargs)

    module._compiled_call_impl = watched

    def back() -> None:
        module._compiled_call_impl = compiled

    return back
