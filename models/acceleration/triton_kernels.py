# mypy: ignore-errors
# ruff: noqa: PLR0917 - kernels take their pointers and sizes by position
"""Triton kernels for what lies between the matrix products of a Wan block and of the VAE: each reads its input once,
writes its output once and computes in fp32. models.acceleration.kernels calls them; only there may this be imported."""

import triton
import triton.language as tl


@triton.jit
def norm(x_ptr, a_ptr, g_ptr, h_ptr, y_ptr, mul_ptr, add_ptr, d, eps, GATED: tl.constexpr, SUM: tl.constexpr,
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
def rms_rope(x_ptr, w_ptr, cos_ptr, sin_ptr, y_ptr, rows, d, stride, part, eps, ROPE: tl.constexpr,
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
def rms_silu(x_ptr, g_ptr, y_ptr, rows, c, scale, SILU: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
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
