"""What lies between the matrix products of a Wan block and of the VAE, each in one pass over memory: a Triton kernel
on a GPU, the same sums in torch on a CPU."""

from importlib.util import find_spec
from typing import Any

#: programs of a row are computed by so many warps: a row is 5,120 numbers
_WARPS = 8


def available() -> bool:
    """Whether a GPU can compute them: torch's CUDA builds for Linux bring Triton with them."""
    return find_spec("triton") is not None


def norm(x: Any, mul: Any, add: Any, *, eps: float, a: Any = None, gate: Any = None) -> tuple[Any, Any]:
    """(x + a * gate, layer_norm of that * mul + add), both as x is. x, a: (rows, d), bf16 on a GPU, contiguous; the
    others (d) fp32; no gate is a gate of 1."""
    import torch

    rows, d = x.shape
    if x.device.type != "cuda":
        h = x if a is None else (x.float() + a.float() * (1.0 if gate is None else gate)).to(x.dtype)
        return h, (torch.nn.functional.layer_norm(h.float(), (d,), eps=eps) * mul + add).to(x.dtype)
    h = torch.empty_like(x) if a is not None else x
    y = torch.empty_like(x)
    how = {"GATED": gate is not None, "SUM": a is not None, "NORM": True, "BLOCK": _power(d), "num_warps": _WARPS}
    _triton().norm[(rows,)](x, a, gate, h, y, mul, add, d, eps, **how)
    return h, y


def add(x: Any, a: Any, gate: Any) -> Any:
    """x + a * gate, as x is: what `norm` gives first."""
    import torch

    rows, d = x.shape
    if x.device.type != "cuda":
        return (x.float() + a.float() * gate).to(x.dtype)
    h = torch.empty_like(x)
    how = {"GATED": True, "SUM": True, "NORM": False, "BLOCK": _power(d), "num_warps": _WARPS}
    _triton().norm[(rows,)](x, a, gate, h, h, gate, gate, d, 0.0, **how)
    return h


def rms_rope(x: Any, weights: Any, *, eps: float, rotary: tuple[Any, Any] | None = None) -> Any:
    """(parts, rows, d) of x (rows, >= parts * d), whose rows may lie apart: each part normed and rotated. weights:
    (parts, d); rotary: cosines and sines, (rows, half a head's width) fp32 each, or None for the norm alone."""
    import torch

    rows, (parts, d) = x.shape[0], weights.shape
    if x.device.type != "cuda":
        n = x[:, : parts * d].float().unflatten(1, (parts, d)).transpose(0, 1)
        n = n * torch.rsqrt(n.pow(2).mean(-1, keepdim=True) + eps) * weights[:, None].float()
        if rotary is not None:
            cos, sin = rotary
            one, two = n.to(x.dtype).float().unflatten(-1, (-1, cos.shape[-1], 2)).unbind(-1)
            turned = torch.stack((one * cos[:, None] - two * sin[:, None], one * sin[:, None] + two * cos[:, None]), -1)
            n = turned.flatten(2)
        return n.to(x.dtype).contiguous()
    y = torch.empty(parts, rows, d, device=x.device, dtype=x.dtype)
    cos, sin = rotary or (None, None)
    how = {"ROPE": rotary is not None, "HALF": 64 if cos is None else cos.shape[-1], "BLOCK": _power(d)}
    _triton().rms_rope[(rows, parts)](x, weights, cos, sin, y, rows, d, x.stride(0), d, eps, **how, num_warps=_WARPS)
    return y


def rms_silu(x: Any, gamma: Any, scale: float, *, silu: bool) -> Any:
    """silu(normalize(x over dimension 1) * scale * gamma) of a picture or clip, with its channels last in memory."""
    import torch

    order = (0, *range(2, x.ndim), 1)
    flat = x.permute(order)
    if x.device.type != "cuda":
        y = torch.nn.functional.normalize(x.float(), dim=1) * scale * gamma.float().view(-1, *[1] * (x.ndim - 2))
        return (torch.nn.functional.silu(y) if silu else y).to(x.dtype)
    flat = flat.contiguous()
    c = flat.shape[-1]
    rows, block = flat.numel() // c, _power(c)
    each = max(1, 4096 // block)
    y = torch.empty_like(flat)
    how = {"SILU": silu, "ROWS": each, "BLOCK": block, "num_warps": 4}
    _triton().rms_silu[((rows + each - 1) // each,)](flat, gamma, y, rows, c, scale, **how)
    return y.permute(0, x.ndim - 1, *range(1, x.ndim - 1))


def _triton() -> Any:
    from models.acceleration import triton_kernels

    return triton_kernels


def _power(count: int) -> int:
    return 1 << (count - 1).bit_length()
