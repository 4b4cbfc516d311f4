"""One pipeline in memory that can be stock diffusers or what the farm makes of it, again and again: the same weights
and the same noise, so that outputs compare."""

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.gpu import build, decoder
from bench.gpu.clock import Clock
from bench.gpu.measure import Case, Setting, error_of, measure
from models.acceleration import lossy, tuning
from models.catalog.model import Model


class Stand:
    """A model on the clock's device. `stock` is size -> (latents, frames), on the CPU, of what was measured stock."""

    def __init__(self, model: Model, clock: Clock, matmul: float) -> None:
        self.model, self._clock, self._matmul = model, clock, matmul
        self.pipe = build.pipeline(model, clock.device)
        #: rounding a VAE to bf16 cannot be taken back
        self.vae, self._fast_vae = self.pipe.vae, copy.deepcopy(self.pipe.vae)
        self.stock: dict[str, tuple[Any, Any]] = {}

    def measure(self, setting: Setting, plan: tuning.Tuning | None, name: str, *, batched: bool = False) -> Case:
        """A few steps and a decode. plan: None for diffusers as it comes."""
        with self.as_stock() if plan is None else self.as_farm(plan):
            case, latents, frames = measure(self.pipe, setting, self._clock, name, self._matmul, batched=batched)
        latents = latents.cpu()
        if plan is None:
            self.stock[setting.size] = (latents, frames)
        elif setting.size in self.stock:
            theirs, shown = self.stock[setting.size]
            if theirs.shape == latents.shape and case.steps == setting.steps:
                case.error_percent = error_of(latents, theirs)
                case.frames_error_percent = error_of(frames, shown)
        return case

    @contextmanager
    def as_stock(self) -> Iterator[None]:
        """torch's own settings too: the documentation's recipe leaves its convolutions in TF32."""
        import torch

        strict = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
        self.pipe.vae = self.vae
        try:
            yield
        finally:
            (
                torch.backends.cudnn.allow_tf32,
                torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
            ) = strict

    @contextmanager
    def as_farm(self, plan: tuning.Tuning) -> Iterator[None]:
        """As `models.acceleration.tuning` makes it; 8-bit linears stay so."""
        self.pipe.vae = self._fast_vae
        tuning.apply(self.pipe, plan)
        try:
            yield
        finally:
            self._plain()

    @contextmanager
    def lean_vae(self) -> Iterator[None]:
        """Inside as_farm: its VAE as bench.gpu.decoder makes it."""
        before, mine = self.pipe.vae, copy.deepcopy(self._fast_vae)
        speed.set_vae(mine, "bf16")
        decoder.make_lean(mine)
        self.pipe.vae = self._fast_vae = mine
        try:
            yield
        finally:
            self._fast_vae = before
            self.pipe.vae = before

    def close(self) -> None:
        """Give the memory back, whoever still knows the pipeline."""
        import torch

        for part in (*self.pipe.components.values(), self.vae, self._fast_vae):
            if isinstance(part, torch.nn.Module):
                for module in part.modules():
                    module._parameters.clear()
                    module._buffers.clear()
        gc.collect()
        self._clock.forget_peak()

    def _plain(self) -> None:
        for expert in lossy.experts_of(self.pipe).values():
            tuning.unfuse_qkv(expert)
            tuning.set_attention(expert, "native")
            for module in expert.modules():
                # a compiled forward lies over the class's own
                vars(module).pop("forward", None)
