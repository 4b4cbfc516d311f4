"""One kind of transformer block alone, at a clip's full size, computed in every way that is worth trying: what a step
would take, what it was compiled in, and how far its numbers are from the plain one's. A second or two for each."""

import copy
import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.gpu.clock import Clock
from bench.gpu.measure import Setting, error_of
from models.acceleration import fused_blocks, tuning
from models.acceleration.attention import FLASH_3
from models.acceleration.fused_blocks import FusedForm
from models.catalog.shape import tokens

#: blocks that are gone through, so that no weight is in a cache
_BLOCKS, _ROUNDS = 8, 2


@dataclass(frozen=True)
class Way:
    """plan: as models.acceleration.tuning makes it; form: of fused blocks. mode: of the compiler."""

    name: str
    plan: tuning.Tuning = field(default_factory=tuning.Tuning)
    form: FusedForm | None = None
    mode: str | None = None


def ways(auto: tuning.Tuning, gpu: bool) -> list[Way]:
    """In the order of their worth. auto: the farm's own plan; Way.form is who computes the blocks, not its own."""
    fused, plain = replace(auto, compile=False, fuse_qkv=True), tuning.Tuning()
    compiled = replace(auto, compile=True, fuse_qkv=True)
    if not gpu:
        return [
            Way("plain", plain),
            Way("fused", fused, FusedForm("native")),
            Way("fused, nothing kept", replace(fused, fuse_qkv=False), FusedForm("native", gelu=False, text=False)),
        ]
    return [
        Way("plain", plain),
        Way("fused, flash 3", fused, FusedForm(FLASH_3)),
        Way("fused, cudnn", fused, FusedForm("_native_cudnn")),
        Way("compiled", compiled),
        Way("fused, flash 3, gelu apart", fused, FusedForm(FLASH_3, gelu=False)),
        Way("fused, flash 3, projections apart", replace(fused, fuse_qkv=False), FusedForm(FLASH_3)),
        Way("compiled, projections apart", replace(compiled, fuse_qkv=False)),
        Way("fused, flash 2", fused, FusedForm("_native_flash")),
        Way("compiled, fp8", replace(compiled, fuse_qkv=False, linears="fp8 dynamic")),
        Way("compiled, max-autotune", compiled, None, "max-autotune-no-cudagraphs"),
    ]


class Blocks:
    """The first blocks of an expert and what they are given."""

    def __init__(self, expert: Any, setting: Setting, clock: Clock) -> None:
        import torch

        self.expert, self.setting, self.clock = expert, setting, clock
        model, device = setting.model, clock.device
        time, high, wide = model.vae_stride
        latents = torch.zeros(
            1,
            expert.config.in_channels,
            1 + (setting.frames - 1) // time,
            setting.height // high,
            setting.width // wide,
            device=device,
        )
        count, d = tokens(model, setting.width, setting.height, setting.frames), model.dit.dim
        generator = torch.Generator("cpu").manual_seed(1)
        dtype = expert.dtype

        def made(*shape: int) -> Any:
            return torch.randn(*shape, generator=generator, dtype=torch.float32).to(device, dtype)

        self.hidden, self.text = torch.randn(1, count, d, device=device).to(dtype), made(1, 512, d)
        self.temb = made(1, 6, d)
        self.rotary = expert.rope(latents)
        self.blocks = list(expert.blocks)[:_BLOCKS]

    def try_all(
        self,
        ways: list[Way],
        tell: Callable[[dict[str, Any]], None],
        profile: Path | None = None,
        rounds: int = _ROUNDS,
    ) -> dict[str, Any]:
        """Way -> its figures, told after each; the profile of each way is written to a file. rounds: through all blocks
        that are timed."""
        told: dict[str, Any] = {}
        exact = None
        for way in ways:
            self.clock.check()
            try:
                with self._made(way) as run:
                    figures, out = self._timed(run, rounds)
                    exact = out if exact is None else exact
                    figures["error_percent"] = error_of(out, exact)
                    if profile is not None and self.clock.device.type == "cuda":
                        self._profile(way.name, run, profile)
            except Exception as error:
                figures = {"error": f"{type(error).__name__}: {str(error)[:600]}", "where": traceback.format_exc()}
                error.__traceback__ = None
            told[way.name] = figures
            print(f"         {way.name}: {json.dumps(figures)[:300]}", flush=True)
            tell(told)
        return told

    def _timed(self, run: Callable[[Any, int], Any], rounds: int) -> tuple[dict[str, Any], Any]:
        import torch

        clock = self.clock
        clock.forget_peak()
        with torch.no_grad():
            begun = clock.now()
            out = run(self.hidden, 0).clone()
            first_s = clock.now() - begun
            hidden = self.hidden
            for number in range(2):
                hidden = run(hidden, number)
            begun = clock.now()
            for _ in range(rounds):
                hidden = self.hidden
                for number in range(len(self.blocks)):
                    hidden = run(hidden, number)
            each_s = (clock.now() - begun) / (rounds * len(self.blocks))
        passes = 2 if self.setting.model.defaults.guidance > 1 else 1
        layers = self.setting.model.dit.layers
        return {
            "ms": 1e3 * each_s,
            "step_s": each_s * layers * passes,
            "tflops": self.setting.tflop_per_step / (each_s * layers * passes),
            "first_s": first_s,
            "peak_gb": clock.peak_gb(),
        }, out

    @contextmanager
    def _made(self, way: Way) -> Iterator[Callable[[Any, int], Any]]:
        import torch

        tuning.set_attention(self.expert, way.plan.attention)
        blocks = self.blocks
        if way.plan.linears != "plain":
            # what is rounded stays so: a few copies
            blocks = [copy.deepcopy(block) for block in blocks[:4]]
            tuning.quantise(torch.nn.ModuleDict({"blocks": torch.nn.ModuleList(blocks)}), way.plan.linears)
        if way.plan.fuse_qkv:
            tuning.fuse_qkv(self.expert)
        else:
            tuning.unfuse_qkv(self.expert)
        try:
            if way.form is not None:
                table = fused_blocks.half(self.rotary)
                fused = [fused_blocks.FusedBlock(block, way.form) for block in self.blocks]
                yield lambda hidden, n: fused[n % len(fused)](hidden, self.text, self.temb, table)
            else:
                calls = [block.forward for block in blocks]
                if way.plan.compile:
                    calls = [torch.compile(call, fullgraph=True, dynamic=False, mode=way.mode) for call in calls]
                yield lambda hidden, n: calls[n % len(calls)](hidden, self.text, self.temb, self.rotary)
        finally:
            tuning.unfuse_qkv(self.expert)
            tuning.set_attention(self.expert, "native")

    def _profile(self, name: str, run: Callable[[Any, int], Any], path: Path) -> None:
        import torch
        from torch.profiler import ProfilerActivity, profile

        with torch.no_grad(), profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
            hidden = self.hidden
            for number in range(2):
                hidden = run(hidden, number)
            torch.cuda.synchronize(self.clock.device)
        write_profile(f"two blocks: {name}", seen, path)


def write_profile(title: str, seen: Any, path: Path) -> None:
    """Kernels by their time on the device, one line each, added to a file."""
    found = [event for event in seen.key_averages() if str(event.device_type).endswith("CUDA")]
    found.sort(key=lambda event: -event.self_device_time_total)
    total = sum(event.self_device_time_total for event in found) or 1
    with path.open("a") as file:
        file.write(f"\n== {title}: {total / 1e3:.2f} ms on the device\n")
        for event in found[:28]:
            ms, percent = event.self_device_time_total / 1e3, 100 * event.self_device_time_total / total
            file.write(f"{ms:9.3f} ms {percent:5.1f} %  x{event.count:<4d} {event.key[:150]}\n")
