"""Triton kernels for what lies between the matrix products of a Wan block and of the VAE: each reads its input once and
writes its output once, and computes in fp32. A CPU without Triton has the same sums in torch."""

from importlib.util import find_spec
from typing import Any

if find_spec("triton") is not None:
    import triton
    import triton.language as tl

    @triton.jit
    def _norm(x_ptr, a_ptr, g_ptr, h_ptr, y_ptr, mul_ptr, add_ptr, d, eps, GATED: tl.constexpr, SUM: tl.constexpr,
              NORM: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
        """h = x + a * g; y = layer_norm(h) * mul + add. One row a program."""
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, BLOCK)
        here = at < d
        h = tl.load(x_ptr + row * d + at, mask=here, other=0.0).to(tl.float32)
        if SUM:
            a = tl.load(a_ptr + row * d + at, mask=here, other=0.0).to(tl.float32)
            if GATED:
                a = a * tl.load(g_ptr + at, mask=here, other=0.0)
            h = (h + a).to(tl.bfloat16)
            tl.store(h_ptr + row * d + at, h, mask=here)
            h = h.to(tl.float32)
        if NORM:
            mean = tl.sum(h, 0) / d
            off = tl.where(here, h - mean, 0.0)
            scaled = off * tl.rsqrt(tl.sum(off * off, 0) / d + eps)
            mul = tl.load(mul_ptr + at, mask=here, other=0.0)
            add = tl.load(add_ptr + at, mask=here, other=0.0)
            tl.store(y_ptr + row * d + at, (scaled * mul + add).to(tl.bfloat16), mask=here)

    @triton.jit
    def _rms_rope(x_ptr, w_ptr, cos_ptr, sin_ptr, y_ptr, rows, d, stride, part, eps, ROPE: tl.constexpr,
                  HALF: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
        """y[p] = rope(rms_norm(x[:, p*part : p*part + d]) * w[p]). One row of one part a program."""
        row = tl.program_id(0).to(tl.int64)
        p = tl.program_id(1).to(tl.int64)
        at = tl.arange(0, BLOCK)
        here = at < d
        x = tl.load(x_ptr + row * stride + p * part + at, mask=here, other=0.0).to(tl.float32)
        w = tl.load(w_ptr + p * d + at, mask=here, other=0.0).to(tl.float32)
        n = x * tl.rsqrt(tl.sum(x * x, 0) / d + eps) * w
        if ROPE:
            one, two = tl.split(tl.reshape(n.to(tl.bfloat16).to(tl.float32), [BLOCK // 2, 2]))
            pair = tl.arange(0, BLOCK // 2) % HALF
            cos = tl.load(cos_ptr + row * HALF + pair)
            sin = tl.load(sin_ptr + row * HALF + pair)
            n = tl.interleave(one * cos - two * sin, one * sin + two * cos)
        tl.store(y_ptr + (p * rows + row) * d + at, n.to(tl.bfloat16), mask=here)

    @triton.jit
    def _rms_silu(x_ptr, g_ptr, y_ptr, rows, c, scale, SILU: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
        """y = silu(normalize(x) * scale * g) over the last, contiguous dimension."""
        row = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
        at = tl.arange(0, BLOCK)[None, :]
        here = (row < rows) & (at < c)
        x = tl.load(x_ptr + row * c + at, mask=here, other=0.0).to(tl.float32)
        length = tl.sqrt(tl.sum(x * x, 1))[:, None]
        g = tl.load(g_ptr + at, mask=at < c, other=0.0).to(tl.float32)
        y = x / tl.maximum(length, 1e-12) * (g * scale)
        if SILU:
            y = y * tl.sigmoid(y)
        tl.store(y_ptr + row * c + at, y.to(tl.bfloat16), mask=here)


def norm(x: Any, mul: Any, add: Any, eps: float, a: Any = None, gate: Any = None) -> tuple[Any, Any]:
    """(x + a * gate, layer_norm of that * mul + add), both bf16. x, a: (rows, d) bf16; the others (d) fp32."""
    import torch

    rows, d = x.shape
    if x.device.type != "cuda":
        h = x if a is None else (x.float() + a.float() * (1.0 if gate is None else gate)).to(x.dtype)
        return h, (torch.nn.functional.layer_norm(h.float(), (d,), eps=eps) * mul + add).to(x.dtype)
    h = torch.empty_like(x) if a is not None else x
    y = torch.empty_like(x)
    _norm[(rows,)](x, a, gate, h, y, mul, add, d, eps, GATED=gate is not None, SUM=a is not None, NORM=True,
                   BLOCK=_power(d), num_warps=8)  # fmt: skip
    return h, y


def add(x: Any, a: Any, gate: Any) -> Any:
    """x + a * gate, bf16."""
    import torch

    rows, d = x.shape
    if x.device.type != "cuda":
        return (x.float() + a.float() * gate).to(x.dtype)
    h = torch.empty_like(x)
    _norm[(rows,)](x, a, gate, h, h, gate, gate, d, 0.0, GATED=True, SUM=True, NORM=False, BLOCK=_power(d), num_warps=8)
    return h


def rms_rope(x: Any, weights: Any, eps: float, parts: int, cos: Any = None, sin: Any = None) -> Any:
    """(parts, rows, d) of x (rows, >= parts * d), whose rows may lie apart. weights: (parts, d); cos, sin: (rows, 64)
    fp32, or None for the norm alone."""
    import torch

    rows, d = x.shape[0], weights.shape[-1]
    if x.device.type != "cuda":
        n = x[:, : parts * d].float().unflatten(1, (parts, d)).transpose(0, 1)
        n = n * torch.rsqrt(n.pow(2).mean(-1, keepdim=True) + eps) * weights[:, None].float()
        if cos is not None:
            one, two = n.to(x.dtype).float().unflatten(-1, (-1, cos.shape[-1], 2)).unbind(-1)
            turned = torch.stack((one * cos[:, None] - two * sin[:, None], one * sin[:, None] + two * cos[:, None]), -1)
            n = turned.flatten(2)
        return n.to(x.dtype).contiguous()
    y = torch.empty(parts, rows, d, device=x.device, dtype=x.dtype)
    _rms_rope[(rows, parts)](x, weights, cos, sin, y, rows, d, x.stride(0), d, eps, ROPE=cos is not None,
                             HALF=64 if cos is None else cos.shape[-1], BLOCK=_power(d), num_warps=8)  # fmt: skip
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
    _rms_silu[((rows + each - 1) // each,)](flat, gamma, y, rows, c, scale, SILU=silu, ROWS=each, BLOCK=block, num_warps=4)
    return y.permute(0, x.ndim - 1, *range(1, x.ndim - 1))


def _power(count: int) -> int:
    return 1 << (count - 1).bit_length()
