"""Where a training stands, in one safetensors file: weights, their running mean, the optimizer's moments, the steps."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.tiny.average import Average

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def write(held: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Tensors in one file; whole or not at all."""
    from safetensors.torch import save_file

    draft = path.with_suffix(".draft")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in held.items()}, draft, metadata=metadata)
    os.replace(draft, path)


def save(path: Path, steps: int, parameters: list[Tensor], average: Average | None, optimizer: Any) -> None:
    """Write it; whole or not at all."""
    held = {f"weight.{number}": weight for number, weight in enumerate(parameters)}
    if average is not None:
        held |= {f"mean.{number}": weight for number, weight in enumerate(average.shadow)}
    for number, weight in enumerate(parameters):
        held |= {
            f"{name}.{number}": optimizer.state[weight][name]
            for name in _MOMENTS
            if name in optimizer.state.get(weight, {})
        }
    numbers = {"steps": str(steps), "averaged": str(average.count if average is not None else 0)}
    write(held, path, numbers)


@torch.no_grad()
def load(path: Path, parameters: list[Tensor], average: Average | None, optimizer: Any) -> int:
    """Go on from it; returns the steps that were done."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        numbers, names = file.metadata(), set(file.keys())
        for number, weight in enumerate(parameters):
            weight.copy_(file.get_tensor(f"weight.{number}"))
            if average is not None:
                average.shadow[number].copy_(file.get_tensor(f"mean.{number}"))
            for name in _MOMENTS:
                if f"{name}.{number}" in names:
                    moment = file.get_tensor(f"{name}.{number}").to(weight.device)
                    # a recorded step knows the memory where a moment is
                    optimizer.state[weight].setdefault(name, moment).copy_(moment)
    if average is not None:
        average.count = int(numbers["averaged"])
    return int(numbers["steps"])
