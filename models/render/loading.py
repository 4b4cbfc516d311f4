"""A folder of weights becomes a pipeline on a device: the same code for real weights and for tiny ones."""

import inspect
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models import catalog
from models.acceleration import memory, tuning
from models.catalog import Model
from models.planning.plan import MemoryPlan, Where
from models.planning.request import WEIGHTS_MISSING, RenderFault
from models.render import animate2, loras
from models.weights import weights
from models.weights.folders import folder_of, loras_of

#: catalog precision -> torch dtype of everything but the VAE, which is always fp32
_DTYPES = {"bf16": "bfloat16", "fp32": "float32", "fp8": "bfloat16"}

_RESIDENT = MemoryPlan()


@dataclass
class Loaded:
    """One model in memory. All tasks of the model share its parts; `pipes` is class name -> pipeline over them.

    lane        with the LoRAs of the last job
    scheduler   the one that came with the weights: each render makes its own from it
    eyes        what looks at clips (models.preprocess.guides.Eyes), once a job has needed it
    fast        how its parts were made fast
    plan        where its parts lie
    token_times whether a token that is given, not drawn, has a time of its own (TI2V-5B)
    """

    model: Model
    lane: str
    folder: Path
    device: Any
    attention: str
    scheduler: Any
    fast: tuning.Tuning = field(default_factory=tuning.Tuning)
    pipes: dict[str, Any] = field(default_factory=dict)
    eyes: Any = None
    plan: MemoryPlan = field(default_factory=MemoryPlan)
    token_times: bool = False

    def pipe_for(self, task: str) -> Any:
        """The pipeline that does `task`, made over the parts already loaded."""
        name = self.model.pipeline[task]
        if name not in self.pipes:
            first = next(iter(self.pipes.values()))
            made = self.pipes[name] = _over(_class(name), first)
            set_times(made, self.token_times)
            if self.plan.where in (Where.EXPERTS_VISIT, Where.FP8_STORAGE):
                made.enable_model_cpu_offload(device=self.device)  # the visits are the pipeline's, not the parts'
        return self.pipes[name]

    @property
    def experts(self) -> list[Any]:
        """The transformers, high-noise first."""
        pipe = next(iter(self.pipes.values()))
        both = (getattr(pipe, "transformer", None), getattr(pipe, "transformer_2", None))
        return [expert for expert in both if expert is not None]


def load(
    model: Model,
    models_dir: Path,
    device: Any,
    task: str,
    *,
    wishes: tuning.Wishes | None = None,
    plan: MemoryPlan = _RESIDENT,
) -> Loaded:
    """Read the weights and put them where the plan wants them; the model's own LoRAs become part of them. `wishes`: the
    operator's, about speed."""
    import torch
    from diffusers import AutoencoderKLWan

    folder = folder_of(model, models_dir)
    if found := [p.name for p in folder.rglob("*") if p.suffix in weights.PICKLES]:
        raise RenderFault(WEIGHTS_MISSING, f"{model.id}: {found[0]} is a pickle; only safetensors are loaded")
    dtype = getattr(torch, _DTYPES[model.precision])
    vae = AutoencoderKLWan.from_pretrained(
        folder, subfolder="vae", dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    fast = tuning.plan_for(
        device,
        model.precision,
        wishes,
        resident=plan.where in (Where.RESIDENT, Where.TEXT_VISITS),
        residual_vae=bool(vae.config.is_residual),
    )
    name = model.pipeline[task]
    if name == catalog.MODULAR:
        pipe: Any = animate2.load(folder, vae, dtype)
    else:
        pipe = _class(name).from_pretrained(folder, vae=vae, dtype=dtype, local_files_only=True, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    token_times = bool(pipe.config.get("expand_timesteps"))
    set_times(pipe, token_times)
    if model.loras:
        loras.fuse(pipe, loras_of(model, models_dir), model.loras)
    if fast.linears != "plain" or fast.fuse_qkv:
        # 8-bit kernels are made for where they run, and fused projections share memory until they are moved
        for part in ("transformer", "transformer_2"):
            if getattr(pipe, part, None) is not None:
                getattr(pipe, part).to(device)
    tuning.apply(pipe, fast)
    memory.place(pipe, plan, device)
    if model.modular and device.type == "cuda" and not fast.compile:
        # its attention takes all of the memory unless it is compiled, whatever was wished for
        pipe.transformer.compile_repeated_blocks()
        fast = replace(fast, compile=True)
    return Loaded(
        model,
        model.lane,
        folder,
        device,
        fast.attention,
        pipe.scheduler,
        fast=fast,
        pipes={name: pipe},
        plan=plan,
        token_times=token_times,
    )


def set_times(pipe: Any, token_times: bool) -> None:
    """What a pipeline tells the transformer about time. In text to video nothing is given, so that every token has the
    same time, and one for the clip gives the same numbers with less work; fused blocks know no other."""
    if "expand_timesteps" in pipe.config:
        pipe.register_to_config(expand_timesteps=token_times and type(pipe).__name__ != "WanPipeline")


def unload(loaded: Loaded) -> None:
    """Let go of every part and give the memory back."""
    for pipe in loaded.pipes.values():
        pipe.remove_all_hooks()
    loaded.pipes.clear()
    loaded.eyes = None
    memory.free()


def _class(name: str) -> Any:
    import diffusers

    return getattr(diffusers, name)


def _over(cls: Any, pipe: Any) -> Any:
    """A pipeline of another class over the same parts; nothing is loaded or copied."""
    takes = inspect.signature(cls.__init__).parameters
    parts = {name: part for name, part in pipe.components.items() if name in takes}
    settings = {name: pipe.config[name] for name in ("boundary_ratio",) if name in pipe.config and name in takes}
    made = cls(**parts, **settings)
    made.set_progress_bar_config(disable=True)
    return made
