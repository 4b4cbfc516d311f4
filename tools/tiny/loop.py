"""A training loop that knows when it has to end: the learning rate falls with the share of its budget that is spent."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from tools.tiny import checkpoint
from tools.tiny.average import Average
from tools.tiny.muon import Muon
from tools.tiny.recorded import recorded


class Lesson(Protocol):
    """What is trained. `feed` puts fresh examples where `loss` finds them, in place: a recorded `loss` reads the same
    memory for ever, and nothing in it may wait for the device or depend on a Python value that changes."""

    @property
    def parameters(self) -> list[Tensor]: ...
    def feed(self) -> None: ...
    def loss(self) -> Tensor: ...


class Budget(Protocol):
    """When a training is over, and how far it is."""

    def passed(self, steps: int) -> float: ...


@dataclass
class Seconds:
    """From `begin` to `end`, in seconds since the epoch. Who goes on later begins a clock anew."""

    begin: float
    end: float

    @classmethod
    def until(cls, end: float) -> "Seconds":
        return cls(time.time(), end)

    def passed(self, steps: int) -> float:
        """Share of the time that is gone, 0 to 1, however many steps were done."""
        return min(1.0, (time.time() - self.begin) / max(self.end - self.begin, 1e-6))


@dataclass
class Steps:
    """So many steps, however long they take: for a training in the background, which may be broken off."""

    count: int

    def passed(self, steps: int) -> float:
        """Share of the steps that are done, 0 to 1."""
        return min(1.0, steps / max(self.count, 1))


def train(
    lesson: Lesson,
    budget: Budget,
    *,
    name: str,
    rate: float,
    log: Path,
    feeds_every: int = 1,
    average: Average | None = None,
    prepared: Callable[[], Budget] | None = None,
    on_save: Callable[[], None] | None = None,
    save_every_s: float = 60.0,
    state: Path | None = None,
    record: bool = False,
) -> int:
    """Train until the budget is spent; returns the steps done. One line of JSON every few seconds goes to `log`.

    feeds_every     steps between two calls of `feed`
    prepared        called once the step is ready to run; what it waits for is not counted, and its budget is then used
    state           file to go on from, weights and optimizer: written every `save_every_s` and at the end
    record          on a GPU: play the whole step as one CUDA graph
    """
    parameters = lesson.parameters
    device = parameters[0].device
    optimizer = Muon(parameters)
    run = _ready(_step(lesson, optimizer), parameters, record and device.type == "cuda")
    if prepared is not None:
        budget = prepared()
    optimizer.forget()
    if average is not None:
        average.restart()
    steps = 0
    if state is not None and state.is_file():
        steps = checkpoint.load(state, parameters, average, optimizer)

    def keep() -> None:
        if state is not None:
            checkpoint.save(state, steps, parameters, average, optimizer)

    told, saved = _Told(name, log, device), time.time()
    while (passed := budget.passed(steps)) < 1:
        now = rate * min(1.0, (steps + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * passed)) + 1e-6
        optimizer.rate.fill_(now)
        if steps % feeds_every == 0:
            lesson.feed()
        loss = run()
        steps += 1
        if average is not None and steps % 4 == 0 and passed > 0.1:
            average.update()
        if device.type == "cuda" and steps % 8 == 0:
            torch.cuda.synchronize()
        told.step(steps, loss, passed)
        if time.time() - saved > save_every_s:
            if on_save is not None:
                on_save()
            keep()
            saved = time.time()
    keep()  # whoever is stopped between this and the next lesson goes on at the end of this one
    _say(log, {"name": name, "step": steps, "passed": 1.0, "done": True})
    return steps


def _ready(step: Callable[[], Tensor], parameters: list[Tensor], record: bool) -> Callable[[], Tensor]:
    """The step, compiled and recorded where it is to be. For that it is run; the weights are as before."""
    before = [weight.detach().clone() for weight in parameters]
    if record:
        step = recorded(step)
    else:
        step()
    with torch.no_grad():
        for weight, kept in zip(parameters, before, strict=True):
            weight.copy_(kept)
    return step


def _step(lesson: Lesson, optimizer: Muon) -> Callable[[], Tensor]:
    parameters = lesson.parameters

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = lesson.loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss.detach()

    return step


class _Told:
    """Says every five seconds what the loss was since the last time."""

    def __init__(self, name: str, log: Path, device: Any) -> None:
        self._name, self._log, self._at = name, log, 0.0
        self._total, self._count = torch.zeros((), device=device), 0

    def step(self, steps: int, loss: Tensor, passed: float) -> None:
        self._total += loss
        self._count += 1
        if time.time() - self._at <= 5:
            return
        mean = float(self._total) / self._count
        _say(self._log, {"name": self._name, "step": steps, "loss": round(mean, 5), "passed": round(passed, 3)})
        if not math.isfinite(mean):
            raise FloatingPointError(f"{self._name}: the loss is {mean} at step {steps}")
        self._at, self._count = time.time(), 0
        self._total.zero_()


def _say(log: Path, what: dict[str, Any]) -> None:
    line = json.dumps({**what, "at": round(time.time(), 1)})
    print(line, flush=True)
    with log.open("a") as file:
        file.write(line + "\n")
