"""LoRA files for tests that import no torch: those of the tiny models, and those of none."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save

#: width of the layers of the tiny models with two experts, and of the 5B-like one's
NARROW, WIDE = 96, 192
Q = "diffusion_model.blocks.0.self_attn.q"


def pair(name: str = Q, wide: int = NARROW, rank: int = 2, seed: int = 0, strength: float = 0.3) -> dict[str, Any]:
    """One layer's two matrices."""
    draw = np.random.default_rng(seed)
    return {
        f"{name}.lora_down.weight": draw.normal(0, strength, (rank, wide)).astype("float32"),
        f"{name}.lora_up.weight": draw.normal(0, strength, (wide, rank)).astype("float32"),
    }


def lora_bytes(seed: int = 0, wide: int = NARROW, blocks: int = 2, strength: float = 0.3, **tensors: Any) -> bytes:
    """The query of every block: fits every tiny model that wears any and has layers that wide."""
    made: dict[str, Any] = {}
    for block in range(blocks):
        made |= pair(f"diffusion_model.blocks.{block}.self_attn.q", wide, seed=seed * 100 + block, strength=strength)
    return saved(made | tensors)


def saved(tensors: Mapping[str, Any]) -> bytes:
    return bytes(save(dict(tensors)))
