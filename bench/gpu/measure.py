"""One pipeline at one size: steps, text, VAE and memory, and how far its numbers are from another's."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.gpu.clock import Clock
from models import catalog
from models.model import Model

PROMPT = "a red fox runs through the snow, the camera follows it"


@dataclass
class Case:
    """What was measured. Seconds; clip_s is extrapolated from the steps that were run.

    error, frames_error   relative to the stock pipeline's latents and frames, in percent
    """

    model: str
    size: str
    plan: str
    first_step_s: float
    step_s: float
    text_s: float
    decode_s: float
    clip_s: float
    tflops: float
    of_matmul: float
    peak_gb: float
    error: float = 0.0
    frames_error: float = 0.0

    def told(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Setting:
    """steps: denoising steps that are timed after one that is not."""

    model: Model
    width: int
    height: int
    frames: int
    steps: int

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}x{self.frames}"

    @property
    def tflop_per_step(self) -> float:
        passes = 2 if self.model.defaults.guidance > 1 else 1
        return passes * catalog.forward_tflop(self.model, self.width, self.height, self.frames)


def measure(pipe: Any, setting: Setting, clock: Clock, plan: str, matmul: float) -> tuple[Case, Any, Any]:
    """(what was measured, latents, frames) of a few steps and one decode of their result."""
    clock.forget_peak()
    begun = clock.now()
    prompt, negative = _text(pipe)
    text_s = clock.now() - begun
    latents, marks = denoise(pipe, setting, clock, prompt, negative)
    begun = clock.now()
    frames = decode(pipe, latents)
    decode_s = clock.now() - begun
    step_s = (marks[-1] - marks[1]) / (len(marks) - 2)
    tflops = setting.tflop_per_step / step_s
    whole = text_s + step_s * setting.model.defaults.steps + decode_s
    case = Case(
        model=setting.model.id,
        size=setting.size,
        plan=plan,
        first_step_s=marks[1] - marks[0],
        step_s=step_s,
        text_s=text_s,
        decode_s=decode_s,
        clip_s=whole,
        tflops=tflops,
        of_matmul=100 * tflops / matmul,
        peak_gb=clock.peak_gb(),
    )
    return case, latents, frames


def denoise(pipe: Any, setting: Setting, clock: Clock, prompt: Any, negative: Any) -> tuple[Any, list[float]]:
    """(latents, the times of the start and of every step's end); the same noise every time."""
    import torch

    marks: list[float] = []

    def each(_: Any, __: int, ___: Any, state: dict[str, Any]) -> dict[str, Any]:
        marks.append(clock.now())
        return state

    more = {"guidance_scale_2": setting.model.defaults.guidance_2} if setting.model.boundary is not None else {}
    marks.append(clock.now())
    latents = pipe(
        prompt_embeds=prompt,
        negative_prompt_embeds=negative,
        height=setting.height,
        width=setting.width,
        num_frames=setting.frames,
        num_inference_steps=setting.steps + 1,
        guidance_scale=setting.model.defaults.guidance,
        generator=torch.Generator("cpu").manual_seed(0),
        callback_on_step_end=each,
        output_type="latent",
        **more,
    ).frames
    return latents, marks


def decode(pipe: Any, latents: Any) -> Any:
    """Frames of latents, as the pipelines decode them."""
    import torch

    vae = pipe.vae
    shape = (1, vae.config.z_dim, 1, 1, 1)
    mean, deviation = (
        torch.tensor(values, device=latents.device, dtype=latents.dtype).view(shape)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    with torch.no_grad():
        return vae.decode((latents * deviation + mean).to(vae.dtype), return_dict=False)[0].cpu()


def error_of(ours: Any, theirs: Any) -> float:
    """Relative difference, percent."""
    ours, theirs = ours.float(), theirs.float()
    return 100 * float((ours - theirs).norm() / theirs.norm())


def _text(pipe: Any) -> tuple[Any, Any]:
    import torch

    with torch.no_grad():
        prompt, negative = pipe.encode_prompt(
            PROMPT,
            "blurry",
            do_classifier_free_guidance=True,
            max_sequence_length=catalog.TEXT_TOKENS,
            device=pipe._execution_device,
        )
    return prompt, negative


def two_jobs(
    pipe: Any, model: Model, device: Any, *, plan: Any, sizes: tuple[int, int, int], folder: Path
) -> tuple[list[float], float, float]:
    """Two jobs of `model` through the farm's renderer with this pipeline in it, the second drawn while the first is
    written, as the engine does: (end-to-end seconds of each, idle seconds between them, idle share of all, percent)."""
    from bench.gpu.clock import Idle
    from models.loading import Loaded
    from models.renderer import Renderer
    from models.request import RenderRequest

    renderer = Renderer(folder / "models", str(device))
    (folder / "weights").mkdir(parents=True)
    renderer._loaded = Loaded(
        model, model.lane, folder / "weights", device, plan.attention, pipe.scheduler, plan, {type(pipe).__name__: pipe}
    )
    clock, borders = Clock(device, 0), []
    idle = Idle(clock, pipe)
    d = model.defaults

    def written(drawn: Any, began: float) -> float:
        drawn.finish()
        return time.perf_counter() - began

    with ThreadPoolExecutor(1) as writer:
        writing = []
        for number in range(2):
            out = folder / f"out{number}"
            out.mkdir()
            request = RenderRequest(
                model=model.id,
                task="t2v",
                prompt=f"{PROMPT}, take {number}",
                negative_prompt="",
                width=sizes[0],
                height=sizes[1],
                frames=sizes[2],
                fps=d.fps,
                steps=d.steps,
                guidance=d.guidance,
                guidance_2=d.guidance_2,
                shift=d.shift,
                seed=number,
                out_dir=str(out),
            )
            borders.append(clock.now())
            drawn = renderer.draw(request, lambda _: None, lambda: False)
            writing.append(writer.submit(written, drawn, borders[-1]))
        ends = [one.result() for one in writing]
    idle.stop()
    between_s, share = idle.between(borders)
    return ends, between_s, 100 * share
