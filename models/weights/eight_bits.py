"""Weights of the trained tiny transformers in 8 bits, half the size of 16: a matrix as whole numbers, -127 to 127, and
what one of them is worth, a number for each row. What a prompt shows is the same (docs/tiny-models.md)."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

#: what the name of a matrix's worths ends with
_WORTH = ":worth"
#: numbers below which a tensor is left in 16 bits
_LEAST = 4096


def write(weights: "dict[str, Tensor]", path: Path) -> None:
    """One safetensors file."""
    import torch
    from safetensors.torch import save_file

    held = {}
    for name, weight in weights.items():
        if weight.ndim < 2 or weight.numel() < _LEAST:
            held[name] = weight.to(torch.float16).contiguous()
            continue
        rows = weight.float().flatten(1)
        # 16 bits hold no number below 6e-8
        worth = (rows.abs().amax(1) / 127).clamp(min=1e-7).to(torch.float16)
        held[name] = (rows / worth.float()[:, None]).round().clamp(-127, 127).to(torch.int8).view_as(weight)
        held[name + _WORTH] = worth
    save_file(held, path)


def read(path: Path) -> "dict[str, Tensor]":
    """The weights in 16 bits, by name."""
    import torch
    from safetensors.torch import load_file

    held = load_file(path)
    weights = {name: weight for name, weight in held.items() if not name.endswith(_WORTH)}
    for name in weights:
        if name + _WORTH in held:
            rows = held[name].float().flatten(1) * held[name + _WORTH].float()[:, None]
            weights[name] = rows.to(torch.float16).view_as(held[name])
    return weights
