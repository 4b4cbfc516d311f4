"""The noise schedule of one render. A scheduler keeps state and a shift, so each render gets a fresh one."""

from typing import Any

from models.catalog.model import ShapeError


def scheduler_for(
    base: Any, shift: float, sigmas: tuple[float, ...] | None = None, timesteps: str = "diffusers"
) -> Any:
    """A new scheduler of the weights' own kind and configuration, with the render's flow shift.

    sigmas      the noise levels, before the shift, that a distilled model was trained in: then it is Euler over
                exactly these, whatever the number of steps asked
    timesteps   whose spacing of the steps: diffusers' or, as `wan`, that of Wan's own program. ShapeError where the
                weights' scheduler is not the one that both have
    """
    if timesteps == "wan":
        return _as_wan(base, shift, sigmas)
    if sigmas is not None:
        return _euler_over(sigmas, shift)
    return type(base).from_config(_config(base, shift))


def _config(base: Any, shift: float) -> dict[str, Any]:
    # without the private part: it lists what was left at its default, and from_config would reset that, shift and all
    config = {key: value for key, value in base.config.items() if not key.startswith("_")}
    config["flow_shift" if "flow_shift" in config else "shift"] = shift
    return config


def _as_wan(base: Any, shift: float, sigmas: tuple[float, ...] | None) -> Any:
    from diffusers import UniPCMultistepScheduler

    if sigmas is not None or not isinstance(base, UniPCMultistepScheduler) or not base.config.use_flow_sigmas:
        raise ShapeError("options.timesteps", "the scheduler of these weights has no timesteps of Wan's program")
    from models.render.wan_timesteps import WanTimestepsScheduler

    return WanTimestepsScheduler.from_config(_config(base, shift))


def _euler_over(sigmas: tuple[float, ...], shift: float) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    set_timesteps = scheduler.set_timesteps

    def fixed(num_inference_steps: int | None = None, device: Any = None, **_: Any) -> None:
        # the pipelines cannot pass sigmas on, and Euler's own spacing is not the one that was trained
        set_timesteps(sigmas=list(sigmas), device=device)

    scheduler.set_timesteps = fixed
    return scheduler


def described(scheduler: Any) -> dict[str, Any]:
    """Class, configuration and the timesteps that were run, for the recipe."""
    config = {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
    return {
        "class": type(scheduler).__name__,
        "config": config,
        "timesteps": [round(float(t), 3) for t in scheduler.timesteps],
    }
