"""The renderer: keeps one model warm on one device and turns requests into files, one at a time.

It is the only door into torch. A render ends in a result, a RenderFault or Cancelled, and leaves nothing behind.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from models import catalog
from models.acceleration import fused_blocks, guidance, lossy, memory, runtime, tuning
from models.catalog import Model, options
from models.catalog.shape import tokens
from models.planning.plan import Burden, MemoryPlan, Where, fitting, lora_bytes, needs, refusal, smaller
from models.planning.request import WEIGHTS_MISSING, Progress, RenderFault, RenderRequest, RenderResult, Stage
from models.preprocess.guides import Eyes, open_eyes
from models.preprocess.guides import folder_of as eyes_folder
from models.preprocess.persons import SURE
from models.progress.render_monitor import RenderMonitor
from models.render import faults, loading, loras, noise_schedule, tasks
from models.render.loading import Loaded
from models.render.pending_output import PendingOutput
from models.render.prefetch import Prefetch
from models.weights import folders, lora_file


class Renderer:
    """One device, one warm model. Not for several threads, but for `prefetch`, and for `cancelled`, which is how others
    get through to a render."""

    def __init__(
        self,
        models_dir: Path,
        device: str = "auto",
        wishes: tuning.Wishes | None = None,
        limits: memory.MemoryLimits | None = None,
    ) -> None:
        """device: "auto" (the first GPU, else the CPU), "cpu" or "cuda:0". wishes and limits: the operator's settings
        of speed and memory."""
        runtime.prepare()
        self._wishes = wishes or tuning.Wishes()
        tuning.prepare(self._wishes)
        self.models_dir = models_dir
        self.device = runtime.device_of(device)
        self._limits = limits or memory.MemoryLimits()
        self._loaded: Loaded | None = None
        self._prefetch = Prefetch(self.device)
        #: model id -> (tokens, plan): a render of so many tokens ran out of memory and needed this plan
        self._learnt: dict[str, tuple[int, MemoryPlan]] = {}
        #: the last plan that was chosen, whether or not it could be loaded
        self._picked = MemoryPlan()

    @property
    def lane(self) -> str | None:
        """The loaded lane; None before the first render."""
        return self._loaded.lane if self._loaded else None

    def device_facts(self) -> dict[str, Any]:
        """The device's facts, and the memory that may be used when nothing is loaded."""
        return {**runtime.facts(self.device), "memory": memory.may_use(self.device, self._limits)}

    def offered(self) -> list[str]:
        """Catalog ids whose weights are here and whose numbers the device has, and the tiny ones."""
        here = (catalog.get(model) for model in folders.offered(self.models_dir))
        return [model.id for model in here if self._can(model)]

    def render(
        self, request: RenderRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> RenderResult:
        """Fill request.out_dir with video.mp4, poster.jpg and recipe.json.

        `cancelled` is asked at every block of every model; Cancelled is raised within one of them, the model stays
        warm. Every other bad end is a RenderFault.
        """
        return self.render_frames(request, on_progress, cancelled).finish()

    def prefetch(self, request: RenderRequest) -> list[str]:
        """Encode texts and read inputs of the next request, in a thread of its own, while another one renders. Returns
        what is ready now ("texts", "inputs"). Whatever it raises, that render raises again."""
        return self._prefetch.prepare(request, lambda: self._loaded)

    def render_frames(
        self, request: RenderRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> PendingOutput:
        """The part of a render that needs the device. The returned output can be finished while the next one
        renders."""
        monitor = RenderMonitor(on_progress, cancelled)
        inputs = self._prefetch.take(request)
        return faults.told_apart(lambda: self._frames_within_memory(request, monitor, inputs))

    def pipe_for(self, task: str) -> Any:
        """The warm model's pipeline; after a render, for those who measure it."""
        if self._loaded is None:
            raise RuntimeError("nothing was rendered yet")
        return self._loaded.pipe_for(task)

    def unload(self) -> None:
        """Free the warm model, if any."""
        if self._loaded is None:
            return
        with self._prefetch.kept_off():
            loaded, self._loaded = self._loaded, None
            loading.unload(loaded)

    def _frames_within_memory(self, request: RenderRequest, monitor: RenderMonitor, inputs: Any) -> PendingOutput:
        """Once; and once more with the next smaller plan when the memory did not suffice."""
        try:
            return self._frames(request, monitor, inputs)
        except Exception as error:
            if not faults.is_out_of_memory(error):
                raise
            # the frames of the trace hold what has to be freed
            error.__traceback__ = None
        self._shrink(request, decoding=monitor.stage is Stage.DECODING)
        monitor.again()
        return self._frames(request, monitor, inputs)

    def _shrink(self, request: RenderRequest, *, decoding: bool) -> None:
        """Let go of everything and remember to plan smaller. RenderFault out_of_memory when nothing is smaller."""
        model = catalog.get(request.model)
        before = self._loaded.plan if self._loaded else self._picked
        self.unload()
        memory.free()  # also what was half loaded: its parts hold each other
        after = smaller(model, before, decoding=decoding, fp8=self._limits.fp8)
        if after is None:
            raise RenderFault("out_of_memory", "the device's memory does not hold this render, however it is divided")
        self._learnt[model.id] = (tokens(model, request.width, request.height, request.frames), after)

    def _plan(self, model: Model, request: RenderRequest) -> MemoryPlan:
        """Where the parts are to lie for this request; RenderFault does_not_fit with what would."""
        added = lora_bytes(model, [(lora.expert, Path(lora.path).stat().st_size) for lora in request.loras])
        lossy_name = request.options.get("lossy")
        vae_bytes = 2 if tuning.vae_for(self.device, self._wishes) == "bf16" else 4
        burden = Burden(model, request.width, request.height, request.frames, lossy_name, added, vae_bytes)
        # the host memory of the loaded model is free again when it is unloaded
        loaded = self._loaded
        held = 0.0
        if loaded is not None:
            bare = Burden(loaded.model, request.width, request.height, request.frames)
            held = needs(bare, loaded.plan).host_bytes
        room = memory.room_on(self.device, self._limits, held)
        learnt = self._learnt.get(model.id)
        count = tokens(model, request.width, request.height, request.frames)
        batched = guidance.fits(model, request.task, request.guidance, lossy_name)
        batched = batched and self._together_wins(model, request, fused=False)
        for plan in fitting(burden, room, fp8=self._limits.fp8, batched=batched):
            if learnt is None or count < learnt[0] or plan.thrift >= learnt[1].thrift:
                return plan
        raise RenderFault("does_not_fit", refusal(burden, room))

    def _frames(self, request: RenderRequest, monitor: RenderMonitor, inputs: Any) -> PendingOutput:
        model = _checked(request)
        monitor.enter(Stage.LOADING)
        loaded = self._ready(model, request)
        pipe = loaded.pipe_for(request.task)
        memory.tile(pipe, loaded.plan)
        timesteps = request.options.get("timesteps", "diffusers")
        pipe.scheduler = noise_schedule.scheduler_for(loaded.scheduler, request.shift, model.sigmas, timesteps)
        try:
            ratios = lossy.ratios_file(self.models_dir, model)
            lossy_name = request.options.get("lossy")
            blocks, why = tuning.blocks_of(pipe, loaded.fast, lossy=lossy_name)
            if loaded.plan.batched and self._together_wins(model, request, fused=blocks == "fused"):
                blocks, why = tuning.blocks_of(pipe, loaded.fast, lossy=lossy_name, batched=True)
            else:
                loaded.plan = replace(loaded.plan, batched=False)
            fused = fused_blocks.FusedForm(loaded.fast.fused_blocks) if blocks == "fused" else None
            approximation = lossy.on(pipe, lossy_name, request.steps, ratios)
            with approximation as told, monitor.inside(pipe), fused_blocks.on(pipe, fused) if fused else nullcontext():
                made = tasks.make(
                    pipe,
                    model,
                    request,
                    monitor,
                    lambda: self._eyes(loaded, request.task),
                    inputs=inputs,
                    batched=loaded.plan.batched,
                )
                made.notes = {**(made.notes or {}), "caches": told}
        finally:
            # frees offloaded parts and the caches' state, also after an exception from a callback
            pipe.maybe_free_model_hooks()
        facts = self._recipe_fields(loaded, pipe, {"blocks": blocks, **({"not_fused": why} if why else {})})
        return PendingOutput(request, model, made, facts, loaded.folder, self.models_dir, monitor)

    def _ready(self, model: Model, request: RenderRequest) -> Loaded:
        """The model with the request's LoRAs on, its parts where there is room for them. Another model is freed first;
        a change of LoRAs needs no reload, and a model that uses less memory than it could is left so."""
        plan, order = self._plan(model, request), list(Where)
        self._picked = plan
        loaded = self._loaded
        if loaded is None or loaded.model is not model or order.index(loaded.plan.where) < order.index(plan.where):
            self.unload()
            try:
                loaded = self._loaded = loading.load(
                    model, self.models_dir, self.device, request.task, wishes=self._wishes, plan=plan
                )
            except OSError as error:
                raise RenderFault(WEIGHTS_MISSING, f"the weights of {model.id} cannot be read: {error}") from error
        loaded.plan = replace(loaded.plan, tiled=plan.tiled, batched=plan.batched)
        lane = catalog.lane_of(model, tuple(lora.name for lora in request.loras))
        if loaded.lane != lane:
            loaded.lane = model.lane  # what it is when putting on fails
            pipe = loaded.pipe_for(request.task)
            with tuning.fit_for_loras(pipe, loaded.fast):
                try:
                    loras.put_on(pipe, request.loras)
                except Exception:
                    loras.take_off(pipe)  # those before the one that failed
                    raise
            loaded.lane = lane
        return loaded

    def _together_wins(self, model: Model, request: RenderRequest, *, fused: bool) -> bool:
        work = guidance.block_work(model, request.width, request.height, request.frames)
        return guidance.wins(self._wishes.batched_guidance, self.device.type, work, fused=fused)

    def _can(self, model: Model) -> bool:
        if model.precision == "fp8" and not tuning.can_fp8(self.device):
            return False
        looks = any("pose_video" in roles for roles in model.optional.values())
        return not looks or model.weights.tiny or eyes_folder(self.models_dir, model) is not None

    def _eyes(self, loaded: Loaded, task: str) -> Eyes:
        """What looks at clips, kept with the model."""
        if loaded.eyes is None or (task == "replace" and loaded.eyes.masker is None):
            folder = eyes_folder(self.models_dir, loaded.model)
            if folder is None:
                raise RenderFault(
                    WEIGHTS_MISSING,
                    f"what {loaded.model.id} looks at clips with is not on this machine: "
                    f"wanfarm models pull {loaded.model.id}",
                )
            sure = 0.0 if loaded.model.weights.tiny else SURE
            loaded.eyes = open_eyes(folder, self.device, task, sure)
        return loaded.eyes

    def _recipe_fields(self, loaded: Loaded, pipe: Any, blocks: dict[str, str]) -> dict[str, Any]:
        """What only the renderer knows of how frames were made. blocks: who computed them, and why not fused ones."""
        fused = blocks["blocks"] == "fused"
        return {
            "boundary": pipe.config.get("boundary_ratio"),
            "lane": loaded.lane,
            "pipeline": type(pipe).__name__,
            "scheduler": noise_schedule.described(pipe.scheduler),
            "precision": {
                part: str(getattr(pipe, part).dtype).removeprefix("torch.")
                for part in ("transformer", "text_encoder", "vae")
            },
            "attention": loaded.fast.fused_blocks if fused else loaded.attention,
            "speed": {**loaded.fast.told(), **blocks},
            "plan": loaded.plan.name,
            "peak_bytes": memory.peak_bytes(self.device),
            "libraries": runtime.versions(),
            "device": runtime.facts(self.device),
        }


def _checked(request: RenderRequest) -> Model:
    """The request's model, once the request is known to be one that the model takes."""
    model = catalog.get(request.model)
    catalog.task_for(model, frozenset(request.inputs), request.task)
    names = ("width", "height", "frames", "fps", "steps", "guidance", "guidance_2", "shift")
    catalog.settle(model, request.task, {name: getattr(request, name) for name in names})
    options.check(model, request.task, request.steps, request.guidance, request.options)
    if request.loras and (reason := lora_file.why_not(model)):
        raise RenderFault("invalid_input", reason)
    return model
