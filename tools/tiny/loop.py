"""A training loop that knows when it has to end: the learning rate falls with the share of the time that has passed."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor


class Lesson(Protocol):
    """What is trained. `feed` puts fresh examples where `loss` finds them."""

    @property
    def parameters(self) -> list[Tensor]: ...
    def feed(self) -> None: ...
    def loss(self) -> Tensor: ...


@dataclass
class Clock:
    """From `begin` to `end`, in seconds since the epoch."""

    begin: float
    end: float

    @classmethod
    def until(cls, end: float) -> "Clock":
        return cls(time.time(), end)

    @property
    def passed(self) -> float:
        """Share of the time that is gone."""
        return min(1.0, (time.time() - self.begin) / max(self.end - self.begin, 1e-6))

    @property
    def over(self) -> bool:
        return time.time() >= self.end


@dataclass
class Average:
    """A running mean of the weights, smoother than the last ones: it is what ships."""

    parameters: list[Tensor]
    shadow: list[Tensor] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.shadow = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        self.count += 1
        weight = max(0.02, 1 / (self.count + 1))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], weight)

    @torch.no_grad()
    def swap(self) -> None:
        """The mean into the model, the model's own into the mean; again to undo it."""
        for mean, parameter in zip(self.shadow, self.parameters, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(mean)
            mean.copy_(kept)


def train(
    lesson: Lesson,
    clock: Clock,
    *,
    name: str,
    rate: float,
    log: Path,
    feeds_every: int = 1,
    average: Average | None = None,
    prepared: Callable[[], Clock] | None = None,
    on_save: Callable[[], None] | None = None,
    save_every_s: float = 60.0,
) -> int:
    """Train until the clock is over; returns the steps done. One line of JSON every few seconds goes to `log`.

    feeds_every     steps between two calls of `feed`
    prepared        called once the step is ready to run; what it waits for is not counted, and its clock is then used
    """
    parameters = lesson.parameters
    device = parameters[0].device
    cuda = device.type == "cuda"
    optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.97), weight_decay=0.01, fused=cuda)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = lesson.loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss.detach()

    if prepared is not None:
        step()  # compiles what is compiled; at a rate of 0 it changes nothing
        clock = prepared()
    steps, said, saved, total, counted = 0, 0.0, time.time(), torch.zeros((), device=device), 0
    while not clock.over:
        passed = clock.passed
        now = rate * min(1.0, (steps + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * passed)) + 1e-6
        optimizer.param_groups[0]["lr"] = now
        if steps % feeds_every == 0:
            lesson.feed()
        total += step()
        steps, counted = steps + 1, counted + 1
        if average is not None and steps % 4 == 0 and passed > 0.1:
            average.update()
        if cuda and steps % 8 == 0:
            torch.cuda.synchronize()
        if time.time() - said > 5:
            loss = float(total) / counted
            _say(log, {"name": name, "step": steps, "loss": round(loss, 5), "passed": round(passed, 3)})
            said, counted = time.time(), 0
            total.zero_()
            if not math.isfinite(loss):
                raise FloatingPointError(f"{name}: the loss is {loss} at step {steps}")
        if on_save is not None and time.time() - saved > save_every_s:
            on_save()
            saved = time.time()
    _say(log, {"name": name, "step": steps, "passed": 1.0, "done": True})
    return steps


def _say(log: Path, what: dict[str, Any]) -> None:
    line = json.dumps({**what, "at": round(time.time(), 1)})
    print(line, flush=True)
    with log.open("a") as file:
        file.write(line + "\n")
