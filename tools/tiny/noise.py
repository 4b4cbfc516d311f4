"""What every lesson draws: how much noise lies over an example, and which of its words are said."""

from typing import Any

import torch
from torch import Tensor


def levels(ends: tuple[float, float], shift: float, count: int, device: Any) -> Tensor:
    """(count,) noise levels between the ends, shifted to the noisier ones as a schedule with that shift is."""
    # the levels are shift * u / (1 + (shift - 1) * u) of an even u; these are the u of the ends
    first, last = (end / (shift - (shift - 1) * end) for end in ends)
    even = torch.rand(count, device=device) * (last - first) + first
    return shift * even / (1 + (shift - 1) * even)


def said(count: int, device: Any) -> Tensor:
    """(count, 4) which words are said: in one clip of eight none, of the others each with a chance of nine in ten."""
    return (torch.rand(count, 1, device=device) > 0.125) & (torch.rand(count, 4, device=device) > 0.1)


def precision(device: Any) -> Any:
    """In which a model is run: 16 bits on a GPU. A recorded step casts its weights each time."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False)
