"""The noise schedule of one render. A scheduler keeps state and a shift, so each render gets a fresh one."""

from typing import Any


def scheduler_for(base: Any, shift: float) -> Any:
    """A new scheduler of the weights' own kind and configuration, with the render's flow shift."""
    config = dict(base.config)
    config["flow_shift" if "flow_shift" in config else "shift"] = shift
    return type(base).from_config(config)


def described(scheduler: Any) -> dict[str, Any]:
    """Class, configuration and the timesteps that were run, for the recipe."""
    config = {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
    return {
        "class": type(scheduler).__name__,
        "config": config,
        "timesteps": [round(float(t), 3) for t in scheduler.timesteps],
    }
