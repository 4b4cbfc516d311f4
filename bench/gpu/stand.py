"""One pipeline in memory that can be stock diffusers or what the farm makes of it, again and again: the same weights
and the same noise, so that outputs compare."""

import copy
import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from bench.gpu import build
from bench.gpu.clock import Clock
from bench.gpu.measure import Case, Setting, error_of, measure
from models.acceleration import fused_blocks, lossy, tuning
from models.acceleration.fused_blocks import FusedForm
from models.catalog.model import Model
from models.render.loading import set_times


class Stand:
    """A model on the clock's device. `stock` is size -> (latents, frames), on the CPU, of what was measured stock."""

    def __init__(self, model: Model, clock: Clock, matmul: float) -> None:
        self.model, self._clock, self._matmul = model, clock, matmul
        self.pipe = build.pipeline(model, clock.device)
        #: diffusers' own, in fp32
        self.vae = self.pipe.vae
        self.stock: dict[str, tuple[Any, Any]] = {}

    def measure(
        self,
        setting: Setting,
        plan: tuning.Tuning | None,
        name: str,
        *,
        batched: bool = False,
        decoded: bool = True,
    ) -> Case:
        """A few steps and, if `decoded`, a decode. plan: None for diffusers as it comes."""
        with ExitStack() as way:
            way.enter_context(self.as_stock() if plan is None else self.as_farm(plan))
            case, latents, frames = measure(
                self.pipe, setting, self._clock, name, self._matmul, batched=batched, decoded=decoded
            )
        latents = latents.cpu()
        if plan is None:
            self.stock[setting.size] = (latents, frames)
        elif setting.size in self.stock:
            theirs, shown = self.stock[setting.size]
            if theirs.shape == latents.shape and case.steps == setting.steps:
                case.error_percent = error_of(latents, theirs)
                if frames is not None and shown is not None:
                    case.frames_error_percent = error_of(frames, shown)
        return case

    @contextmanager
    def as_stock(self) -> Iterator[None]:
        """torch's own settings too: the documentation's recipe leaves its convolutions in TF32."""
        import torch

        strict = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
        try:
            yield
        finally:
            (
                torch.backends.cudnn.allow_tf32,
                torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
            ) = strict

    @contextmanager
    def as_farm(self, plan: tuning.Tuning) -> Iterator[None]:
        """As the renderer makes it of a plan, fused blocks included."""
        with self.as_loaded(plan):
            blocks, _ = tuning.blocks_of(self.pipe, plan)
            with fused_blocks.on(self.pipe, FusedForm(plan.fused_blocks)) if blocks == "fused" else nullcontext():
                yield

    @contextmanager
    def as_loaded(self, plan: tuning.Tuning) -> Iterator[None]:
        """As it is loaded; the renderer puts fused blocks on for each render. 8-bit linears stay so. The VAE is a copy:
        rounding cannot be taken back."""
        token_times = bool(self.pipe.config.expand_timesteps)
        set_times(self.pipe, token_times)
        self.pipe.vae = copy.deepcopy(self.vae)
        tuning.apply(self.pipe, plan)
        try:
            yield
        finally:
            self.pipe.vae = self.vae
            self.pipe.register_to_config(expand_timesteps=token_times)
            self._plain()

    def close(self) -> None:
        """Give the memory back, whoever still knows the pipeline."""
        import torch

        for part in self.pipe.components.values():
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
