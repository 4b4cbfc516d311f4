"""Applies the approximations of models.catalog.options to a loaded pipeline for one render, and removes them after it.

Which is right where is decided in models.catalog.options; here is how. All of them keep state in hooks on the blocks.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.catalog.model import Model
from models.planning.request import RenderFault

_FIRST_BLOCK_CHANGE = 0.08
_MAG_ERROR = 0.06
_SEA_CHANGE = 0.25
_TAYLOR_EVERY = 5
_PAB_EVERY = 2
_PAB_TIMESTEPS = (100, 800)


@contextmanager
def on(pipe: Any, name: str | None, steps: int, ratios: Path) -> Iterator[list[dict[str, Any]]]:
    """While this lasts, the pipeline's experts approximate as `name` says; yields what the recipe tells of it.

    steps       of the render;  ratios  the file of MagCache's calibration (ratios_file)
    RenderFault invalid_input before anything is changed when `mag` was never calibrated for these weights.
    """
    if name is None:
        yield []
        return
    experts = experts_of(pipe)
    settings = _settings(pipe, name, steps, ratios)
    undo: list[Callable[[], Any]] = []
    try:
        for part, expert in experts.items():
            config, off = _config(name, expert, settings[part])
            undo.append(off)
            expert.enable_cache(config)
            undo.append(expert.disable_cache)
        yield [{"name": name, "part": part, **_told(settings[part])} for part in experts]
    finally:
        for back in reversed(undo):
            back()


def ratios_file(models_dir: Path, model: Model) -> Path:
    """The file of a model's calibration: beside the weights, since a file among them would change their hash."""
    return models_dir / "calibration" / f"{model.id}.mag.json"


def experts_of(pipe: Any) -> dict[str, Any]:
    """Part name -> transformer, those that are there."""
    both = {part: getattr(pipe, part, None) for part in ("transformer", "transformer_2")}
    return {part: expert for part, expert in both.items() if expert is not None}


def steps_of_experts(pipe: Any, steps: int) -> dict[str, int]:
    """Part name -> how many of `steps` it does, by the scheduler's timesteps and the boundary between the experts."""
    parts = list(experts_of(pipe))
    boundary = pipe.config.get("boundary_ratio")
    if len(parts) == 1 or boundary is None:
        return dict.fromkeys(parts, steps)
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    scheduler.set_timesteps(steps)
    limit = boundary * scheduler.config.num_train_timesteps
    high = sum(1 for t in scheduler.timesteps if t >= limit)
    return dict(zip(parts, (high, len(scheduler.timesteps) - high), strict=True))


@contextmanager
def calibrating(pipe: Any, steps: int, file: Path) -> Iterator[None]:
    """Render once inside this, without approximation, at the steps that are usual: it measures what `mag` needs, part
    name -> mean change of the residual at each step, and writes it into the file."""
    from diffusers import MagCacheConfig

    counts = steps_of_experts(pipe, steps)
    ratios: dict[str, list[float]] = {}
    undo: list[Callable[[], Any]] = []
    try:
        for part, expert in experts_of(pipe).items():
            # one more than there are, or the last step would print the numbers and forget them
            expert.enable_cache(MagCacheConfig(calibrate=True, num_inference_steps=counts[part] + 1))
            undo.append(expert.disable_cache)
            undo.append(_listen(expert, ratios.setdefault(part, [])))
        yield
    finally:
        for back in reversed(undo):
            back()
    if any(len(ratios[part]) != counts[part] for part in ratios):
        raise RuntimeError("the render did not run through all of its steps")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(ratios, indent=1) + "\n")


def _listen(expert: Any, heard: list[float]) -> Callable[[], Any]:
    """After every pass of the expert, copy what its guided pass has measured so far; returns how to stop."""

    def look(*_: Any) -> None:
        for module in expert.blocks[-1:]:
            for hook in module._diffusers_hook.hooks.values():
                state = hook.state_manager._state_cache.get("cond")
                if state is not None:
                    heard[:] = state.calibration_ratios

    handle = expert.register_forward_hook(look)
    stop: Callable[[], Any] = handle.remove
    return stop


def _settings(pipe: Any, name: str, steps: int, file: Path) -> dict[str, dict[str, Any]]:
    """Part name -> the numbers that decide the frames."""
    parts = list(experts_of(pipe))
    if name == "mag":
        try:
            ratios = json.loads(file.read_text())
            per_part = {part: [float(ratio) for ratio in ratios[part]] for part in parts}
        except (OSError, ValueError, KeyError, TypeError):
            raise RenderFault(
                "invalid_input", "options.lossy: mag was not calibrated for this model on this worker; choose another"
            ) from None
        counts = steps_of_experts(pipe, steps)
        return {part: {"threshold": _MAG_ERROR, "steps": counts[part], "ratios": per_part[part]} for part in parts}
    plain: dict[str, Mapping[str, Any]] = {
        "first_block": {"threshold": _FIRST_BLOCK_CHANGE},
        "sea": {"threshold": _SEA_CHANGE},
        "taylorseer": {"cache_interval": _TAYLOR_EVERY, "max_order": 1},
        "pab": {"range": _PAB_EVERY, "timesteps": list(_PAB_TIMESTEPS)},
    }
    return {part: dict(plain[name]) for part in parts}


def _config(name: str, expert: Any, settings: Mapping[str, Any]) -> tuple[Any, Callable[[], Any]]:
    """(diffusers' configuration, what to undo besides)."""
    import diffusers
    import torch

    def nothing() -> None: ...

    match name:
        case "first_block":
            return diffusers.FirstBlockCacheConfig(threshold=settings["threshold"]), nothing
        case "mag":
            # an expert without a step in this render still needs a curve of some length
            count = max(1, settings["steps"])
            ratios = torch.tensor(settings["ratios"])
            config = diffusers.MagCacheConfig(
                threshold=settings["threshold"], num_inference_steps=count, mag_ratios=ratios
            )
            return config, nothing
        case "sea":
            return diffusers.SeaCacheConfig(threshold=settings["threshold"]), nothing
        case "taylorseer":
            # the whole would keep three outputs of every block, 80 GB and more at full size; lite keeps the last one
            config = diffusers.TaylorSeerCacheConfig(
                cache_interval=settings["cache_interval"],
                max_order=settings["max_order"],
                taylor_factors_dtype=torch.float32,
                use_lite_mode=True,
            )
            return config, nothing
        case "pab":
            now, off = _timestep(expert)
            config = diffusers.PyramidAttentionBroadcastConfig(
                spatial_attention_block_skip_range=settings["range"],
                spatial_attention_timestep_skip_range=tuple(settings["timesteps"]),
                spatial_attention_block_identifiers=("blocks.*attn1",),
                current_timestep_callback=now,
            )
            return config, off
    raise ValueError(f"no approximation is called {name!r}")


def _timestep(expert: Any) -> tuple[Callable[[], float], Callable[[], Any]]:
    """(the timestep of the pass that is running, how to stop watching): not every loop tells it to the pipeline."""
    now = 0.0

    def look(_: Any, __: Any, given: dict[str, Any]) -> None:
        nonlocal now
        # tokens that are given, not drawn, have a timestep of 0
        now = float(given["timestep"].max())

    handle = expert.register_forward_pre_hook(look, with_kwargs=True)
    return lambda: now, handle.remove


def _told(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe tells: a curve by its hash."""
    told = {key: value for key, value in settings.items() if key != "ratios"}
    if "ratios" in settings:
        told["ratios_sha256"] = hashlib.sha256(json.dumps(settings["ratios"]).encode()).hexdigest()
    return told
