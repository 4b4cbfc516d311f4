"""One pipeline at one size: steps, text, VAE and memory, and how far its numbers are from another's."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.gpu.clock import Busy, Clock, OutOfTime
from models import catalog
from models.acceleration import guidance
from models.catalog.model import Model

PROMPT = "a red fox runs through the snow, the camera follows it"


@dataclass
class Case:
    """What was measured. Seconds; clip_s is extrapolated from the steps that were run. None: not measured, or there is
    nothing to compare with.

    steps         that were timed; fewer than asked when time ran out
    error_percent, frames_error_percent   of latents and frames, relative to the stock pipeline's
    """

    model: str
    size: str
    plan: str
    steps: int
    first_step_s: float
    step_s: float
    text_s: float
    tflops: float
    of_matmul_percent: float
    decode_s: float | None = None
    clip_s: float | None = None
    peak_gb: float = 0.0
    error_percent: float | None = None
    frames_error_percent: float | None = None

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


def measure(
    pipe: Any,
    setting: Setting,
    clock: Clock,
    plan: str,
    matmul: float,
    *,
    batched: bool = False,
    decoded: bool = True,
) -> tuple[Case, Any, Any]:
    """(what was measured, latents, frames on the CPU or None) of a few steps and, if `decoded`, one decode of their
    result. batched: both passes of a step at once. OutOfTime when there was no time for two steps."""
    clock.forget_peak()
    begun = clock.now()
    prompt, negative = _text(pipe)
    text_s = clock.now() - begun
    marks: list[float] = []
    latents = None
    try:
        with guidance.together(pipe, negative) if batched else nullcontext():
            latents = denoise(pipe, setting, clock, (prompt, negative), marks)
    except OutOfTime:
        if len(marks) < 3:
            raise
    step_s = (marks[-1] - marks[1]) / (len(marks) - 2)
    tflops = setting.tflop_per_step / step_s
    case = Case(
        model=setting.model.id,
        size=setting.size,
        plan=plan,
        steps=len(marks) - 2,
        first_step_s=marks[1] - marks[0],
        step_s=step_s,
        text_s=text_s,
        tflops=tflops,
        of_matmul_percent=100 * tflops / matmul,
        peak_gb=clock.peak_gb(),
    )
    if latents is None or not decoded or clock.left_s <= 0:
        return case, latents, None
    begun = clock.now()
    frames = decode(pipe.vae, latents)
    case.decode_s = clock.now() - begun
    case.clip_s = text_s + step_s * setting.model.defaults.steps + case.decode_s
    case.peak_gb = clock.peak_gb()
    return case, latents, frames.cpu()


def denoise(pipe: Any, setting: Setting, clock: Clock, texts: tuple[Any, Any], marks: list[float]) -> Any:
    """Latents; fills `marks` with the times of the start and of every step's end. The same noise every time."""
    import torch

    def each(_: Any, __: int, ___: Any, state: dict[str, Any]) -> dict[str, Any]:
        marks.append(clock.now())
        if len(marks) < setting.steps + 2:
            clock.check()
        return state

    more = {"guidance_scale_2": setting.model.defaults.guidance_2} if setting.model.boundary is not None else {}
    marks.append(clock.now())
    return pipe(
        prompt_embeds=texts[0],
        negative_prompt_embeds=texts[1],
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


def decode(vae: Any, latents: Any) -> Any:
    """Frames of latents, as the pipelines decode them, where they are."""
    import torch

    shape = (1, vae.config.z_dim, 1, 1, 1)
    latents = latents.to(vae.dtype)
    mean, deviation = (
        torch.tensor(values).view(shape).to(latents.device, latents.dtype)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    with torch.no_grad():
        return vae.decode(latents * deviation + mean, return_dict=False)[0]


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
    pipe: Any,
    model: Model,
    device: Any,
    *,
    plan: Any,
    sizes: tuple[int, int, int],
    folder: Path,
    steps: int | None = None,
) -> dict[str, Any]:
    """Two jobs of `model` through the farm's renderer with this pipeline in it, as an engine does them: the second
    one's text is encoded while the first is drawn, and the first is written while the second is drawn.

    job_s: end-to-end seconds of each; idle_s: of the device between them, idle_percent: of what a job takes of it.
    steps: the model's own number, or this and no guidance, as its distilled sisters do it.
    """
    from models.render import loading
    from models.render.renderer import Renderer

    renderer = Renderer(folder / "models", str(device))
    _stand_in(model, folder)
    renderer._loaded = loading.Loaded(
        model, model.lane, folder / "weights", device, plan.attention, pipe.scheduler, plan, {type(pipe).__name__: pipe}
    )
    requests = [_request(model, sizes, folder / f"out{number}", number, steps) for number in range(2)]
    parts = [pipe.text_encoder, pipe.transformer, getattr(pipe, "transformer_2", None), pipe.vae.decoder]
    busy, borders, scheduler = Busy(device, parts), [], pipe.scheduler

    def written(drawn: Any, began: float) -> tuple[float, dict[str, float]]:
        result = drawn.finish()
        return time.perf_counter() - began, {stage: round(s, 3) for stage, s in result.timings.items()}

    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as ahead:
        writing, at_hand = [], None
        for request in requests:
            borders.append(time.perf_counter())
            if at_hand is None:
                at_hand = ahead.submit(renderer.prefetch, requests[1])
            drawn = renderer.render_frames(request, lambda _: None, lambda: False)
            writing.append(writer.submit(written, drawn, borders[-1]))
        ends, prepared = [one.result() for one in writing], at_hand.result()
    pipe.scheduler = scheduler
    idle_s, period_s = busy.between(borders[1])
    return {
        "encode_smooth_s": _encode_s(folder, sizes, model.defaults.fps),
        "model": model.id,
        "size": "x".join(map(str, sizes)),
        "job_s": [end for end, _ in ends],
        "stages_s": [stages for _, stages in ends],
        "prepared": prepared,
        "files_kb": [round(one.stat().st_size / 1e3) for one in sorted(folder.glob("out*/video.mp4"))],
        "idle_s": idle_s,
        "idle_percent": 100 * idle_s / period_s,
    }


def _encode_s(folder: Path, sizes: tuple[int, int, int], fps: int) -> float:
    """Seconds that a moving gradient takes to become a file: random weights draw noise, which takes the longest."""
    import numpy as np

    from models.media.output import write_video

    width, height, frames = sizes
    across = np.linspace(0, 255, width, dtype=np.float32)[None, :, None] * np.ones((height, 1, 3), np.float32)
    film = np.stack([np.roll(across, 4 * number, 1).astype(np.uint8) for number in range(frames)])
    begun = time.perf_counter()
    write_video(folder / "smooth.mp4", film, fps, {})
    return time.perf_counter() - begun


def _stand_in(model: Model, folder: Path) -> None:
    """Files that a recipe names by their hash: the weights themselves were never on a disk."""
    (folder / "weights").mkdir(parents=True)
    if not model.weights.tiny:
        (folder / "models" / model.id).mkdir(parents=True)
        for lora in model.loras:
            (folder / "models" / model.id / f"{lora.expert}.safetensors").write_bytes(b"")


def _request(model: Model, sizes: tuple[int, int, int], out: Path, number: int, steps: int | None) -> Any:
    from models.planning.request import RenderRequest

    out.mkdir()
    d = model.defaults
    if steps is not None:
        d = replace(d, steps=steps, guidance=1.0, guidance_2=None if d.guidance_2 is None else 1.0)
    return RenderRequest(
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
