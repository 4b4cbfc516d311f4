"""UniPC over the timesteps of Wan's own program."""

from typing import Any

import numpy as np
from diffusers import UniPCMultistepScheduler


class WanTimestepsScheduler(UniPCMultistepScheduler):  # type: ignore[misc]
    """diffusers' solver with the noise levels of Wan's `FlowUniPCMultistepScheduler`.

    Both shift levels that lie evenly between nearly one and nearly zero, and end with no noise. diffusers begins at 1
    and divides the way to 1/1000; Wan begins at 999/1000 and divides the way to 0. So Wan's steps lie a little lower,
    most of all the last ones: at shift 12 the last of 40 is at 235 and not at 242.
    """

    def set_timesteps(self, num_inference_steps: int | None = None, device: Any = None, **given: Any) -> None:
        """As the parent's. The levels are this class's own: `sigmas` must not be given."""
        if num_inference_steps is None or given.get("sigmas") is not None:
            raise ValueError("takes a number of steps, and no sigmas")
        highest = 1 - 1 / self.config.num_train_timesteps
        levels = np.linspace(highest, 0, num_inference_steps + 1)[:-1]
        super().set_timesteps(num_inference_steps, device=device, sigmas=levels)
