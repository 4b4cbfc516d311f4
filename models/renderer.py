"""The renderer: keeps one model warm on one device and turns requests into files, one at a time.

It is the only door into torch. A render ends in a result, a RenderFault or Cancelled, and leaves nothing behind.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from models import catalog, faults, loading, loras, output, pictures, recipe, runtime, scheduling
from models.catalog import Model, ShapeError
from models.loading import Loaded
from models.request import Cancelled, Progress, RenderFault, RenderRequest, RenderResult, Stage
from models.watch import Course, Watch


class Renderer:
    """One device, one warm model. Not for several threads: `cancelled` is how others get through to a render."""

    def __init__(self, models_dir: Path, device: str = "auto") -> None:
        """device: "auto" (the first GPU, else the CPU), "cpu" or "cuda:0"."""
        runtime.prepare()
        self.models_dir = models_dir
        self.device = runtime.device_of(device)
        self._loaded: Loaded | None = None

    @property
    def lane(self) -> str | None:
        """What is loaded, None before the first render."""
        return self._loaded.lane if self._loaded else None

    def device_facts(self) -> dict[str, Any]:
        return runtime.facts(self.device)

    def offered(self) -> list[str]:
        """Catalog ids whose weights are here, and the tiny ones."""
        return loading.offered(self.models_dir)

    def render(
        self, request: RenderRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> RenderResult:
        """Fill request.out_dir with video.mp4, poster.jpg and recipe.json.

        `cancelled` is asked at every block of every model; Cancelled is raised within one of them, the model stays
        warm. Every other bad end is a RenderFault.
        """
        watch = Watch(on_progress, cancelled)
        try:
            return self._render(request, watch)
        except (Cancelled, RenderFault):
            raise
        except ShapeError as error:
            raise RenderFault("invalid_input", f"{error.field}: {error.detail}") from error
        except loras.LoraError as error:
            raise RenderFault("invalid_input", f"the LoRA cannot be used: {error}") from error
        except Exception as error:
            raise faults.fault_of(error) from error

    def unload(self) -> None:
        """Free the warm model, if any."""
        if self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            loading.unload(loaded)

    def _render(self, request: RenderRequest, watch: Watch) -> RenderResult:
        model = _checked(request)
        watch.enter(Stage.LOADING)
        loaded = self._ready(model, request)
        watch.enter(Stage.PREPROCESSING)
        watch.follow(_course(request, model))
        pipe = loaded.pipe_for(request.task)
        pipe.scheduler = scheduling.scheduler_for(loaded.scheduler, request.shift, model.sigmas)
        try:
            with watch.inside(pipe):
                frames = output.to_bytes(_denoise(pipe, request, watch))
        finally:
            # frees offloaded parts and the caches' state, also after an exception from a callback
            pipe.maybe_free_model_hooks()
        return self._write(request, loaded, pipe, frames, watch)

    def _ready(self, model: Model, request: RenderRequest) -> Loaded:
        """The model with the request's LoRAs on. Another model is freed first; LoRAs alone need no reload."""
        if self._loaded is None or self._loaded.model is not model:
            self.unload()
            self._loaded = loading.load(model, self.models_dir, self.device, request.task)
        loaded = self._loaded
        lane = catalog.lane_of(model, tuple(lora.name for lora in request.loras))
        if loaded.lane != lane:
            loaded.lane = model.lane  # what it is when putting on fails
            loras.put_on(loaded.pipe_for(request.task), request.loras)
            loaded.lane = lane
        return loaded

    def _write(self, request: RenderRequest, loaded: Loaded, pipe: Any, frames: Any, watch: Watch) -> RenderResult:
        watch.enter(Stage.ENCODING)
        out = Path(request.out_dir)
        made = {
            **recipe.of_request(request),
            "boundary": pipe.config.get("boundary_ratio"),
            "weights": recipe.of_weights(loaded.folder),
            "lane": loaded.lane,
            "fused": recipe.of_loras(loaded.model, self.models_dir),
            "pipeline": type(pipe).__name__,
            "scheduler": scheduling.described(pipe.scheduler),
            "precision": {
                part: str(getattr(pipe, part).dtype).removeprefix("torch.")
                for part in ("transformer", "text_encoder", "vae")
            },
            "attention": loaded.attention,
            "caches": [],
            "plan": "resident",
            "libraries": runtime.versions(),
            "device": self.device_facts(),
            "frames_sha256": output.frames_sha256(frames),
        }

        def each(done: int) -> None:
            watch.check()
            watch.within(done / len(frames))

        output.write_video(out / "video.mp4", frames, request.fps, made, each)
        made["poster_frame"] = output.write_poster(out / "poster.jpg", frames)
        watch.finish()
        made["timings_s"] = {stage: round(seconds, 3) for stage, seconds in watch.timings.items()}
        recipe.write(out / "recipe.json", made)
        return RenderResult(
            video=str(out / "video.mp4"),
            poster=str(out / "poster.jpg"),
            recipe_path=str(out / "recipe.json"),
            recipe=made,
            width=frames.shape[2],
            height=frames.shape[1],
            frames=frames.shape[0],
            fps=float(request.fps),
            timings=watch.timings,
        )


def _checked(request: RenderRequest) -> Model:
    """The request's model, once the request is known to be one that the model takes."""
    model = catalog.get(request.model)
    catalog.task_for(model, frozenset(request.inputs), request.task)
    names = ("width", "height", "frames", "fps", "steps", "guidance", "guidance_2", "shift")
    catalog.settle(model, request.task, {name: getattr(request, name) for name in names})
    return model


def _course(request: RenderRequest, model: Model) -> Course:
    """Shares of the whole by rough work: the VAE runs in fp32, an eighth of the speed of the transformer's bf16."""
    megapixels = request.width * request.height * request.frames / 1e6
    denoise = catalog.work_tflop(
        model,
        width=request.width,
        height=request.height,
        frames=request.frames,
        steps=request.steps,
        guidance=request.guidance,
    )
    decode = 8 * 8.5 * megapixels * (1.0 if not model.weights.tiny else model.dit.dim / 5e5)
    work = denoise + decode
    forwards = 2 if request.guidance > 1 else 1
    parts = {
        Stage.LOADING: 0.03,
        Stage.PREPROCESSING: 0.02,
        Stage.DENOISING: 0.90 * denoise / work,
        Stage.DECODING: 0.90 * decode / work,
        Stage.ENCODING: 0.05,
    }
    decodes = 1 + (request.frames - 1) // model.vae_stride[0]
    return Course(parts, request.steps, forwards * model.dit.layers, decodes)


def _denoise(pipe: Any, request: RenderRequest, watch: Watch) -> Any:
    """Text, noise and pictures to frames: float tensor (T, 3, H, W) in [0, 1] on the device."""
    import torch

    def step_end(_pipe: Any, _i: int, _t: Any, state: dict[str, Any]) -> dict[str, Any]:
        if pipe.device.type == "cuda":
            # the CPU runs ahead of the GPU: without this, progress would tell of steps that are not done
            torch.cuda.synchronize(pipe.device)
        watch.step_done()
        return state

    prompt, negative = pipe.encode_prompt(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        do_classifier_free_guidance=request.guidance > 1,
        max_sequence_length=catalog.TEXT_TOKENS,
        device=pipe.device,
    )
    arguments: dict[str, Any] = {}
    for role in ("image", "last_image"):
        if role in request.inputs:
            arguments[role] = pictures.cover(pictures.read(request.inputs[role]), request.width, request.height)
    if pipe.config.get("boundary_ratio") is not None:
        arguments["guidance_scale_2"] = request.guidance_2
    return pipe(
        prompt_embeds=prompt,
        negative_prompt_embeds=negative,
        height=request.height,
        width=request.width,
        num_frames=request.frames,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        callback_on_step_end=step_end,
        output_type="pt",
        **arguments,
    ).frames[0]
