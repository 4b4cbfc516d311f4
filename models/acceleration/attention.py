"""Attention for blocks that are computed by models.acceleration.fused_blocks: any backend of diffusers by its name, and
FlashAttention 3 from the package fa3-fwd, which diffusers does not know."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

#: FlashAttention 3, forward only (pip install 'wanfarm[flash3]'). diffusers' own `_flash_3` wants another package
FLASH_3 = "fa3-fwd"

#: query, key, value -> output, (batch, tokens, heads, width) each; only the last dimension has to be contiguous
Attend = Callable[[Any, Any, Any], Any]


def has_flash_3() -> bool:
    """Whether fa3-fwd is installed. It computes on GPUs of compute capability 9.0 alone."""
    return find_spec("fa3_fwd_interface") is not None


def attend_with(name: str) -> Attend:
    """The attention of that name: FLASH_3 or one of diffusers' backends. ValueError when there is none."""
    if name == FLASH_3:
        return _flash_3
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    backend = AttentionBackendName(name)
    return lambda q, k, v: dispatch_attention_fn(q, k, v, backend=backend)


def _flash_3(q: Any, k: Any, v: Any) -> Any:
    import fa3_fwd_interface

    return fa3_fwd_interface._flash_attn_forward(q, k, v, softmax_scale=q.shape[-1] ** -0.5)[0]
