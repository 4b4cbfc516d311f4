"""`python -m bench.gpu.preflight`: whether what the bench relies on computes rightly here, in a process of its own, so
that what breaks the device's context breaks nothing else. Prints a line for each; exits with 1 if FlashAttention 3 is
of no use, with 2 if the kernels of models.acceleration.kernels are not."""

import sys
from typing import Any

from models.acceleration import kernels
from models.acceleration.attention import FLASH_3, attend_with


def main() -> int:
    import torch

    def error(ours: Any, theirs: Any) -> float:
        return float((ours.float().cpu() - theirs.float().cpu()).norm() / theirs.float().cpu().norm())

    gpu, status = torch.device("cuda"), 0
    torch.manual_seed(0)
    x, a, qkv = (torch.randn(70, wide).bfloat16() for wide in (5120, 5120, 15360))
    mul, add, gate, w = torch.randn(5120), torch.randn(5120), torch.randn(5120), torch.randn(2, 5120).bfloat16()
    cos, sin = torch.randn(70, 64), torch.randn(70, 64)
    clip, gamma = torch.randn(1, 96, 2, 9, 11).bfloat16(), torch.randn(96).bfloat16()
    clip = clip.contiguous(memory_format=torch.channels_last_3d)
    tried = {
        "norm": (lambda *t: kernels.norm(t[0], t[1], t[2], eps=1e-6)[1], (x, mul, add)),
        "sum": (lambda *t: kernels.norm(t[0], t[1], t[2], eps=1e-6, a=t[3], gate=t[4])[0], (x, mul, add, a, gate)),
        "sum and norm": (
            lambda *t: kernels.norm(t[0], t[1], t[2], eps=1e-6, a=t[3], gate=t[4])[1],
            (x, mul, add, a, gate),
        ),
        "add": (kernels.add, (x, a, gate)),
        "rope": (lambda *t: kernels.rms_rope(t[0], t[1], eps=1e-6, rotary=t[2:]), (qkv, w, cos, sin)),
        "rms": (lambda *t: kernels.rms_rope(t[0], t[1][:1], eps=1e-6), (x, w)),
        "silu": (lambda *t: kernels.rms_silu(t[0], t[1], 96**0.5, silu=True), (clip, gamma)),
    }
    for name, (work, given) in tried.items():
        try:
            off = error(work(*(one.to(gpu) for one in given)), work(*given))
            print(f"{name}: {off:.5f} off", flush=True)
            status = status if off < 0.01 else 2
        except Exception as found:
            print(f"{name}: {type(found).__name__}: {str(found)[:300]}", flush=True)
            status = 2
    q, k, v = (torch.randn(1, 1111, 5, 128, device=gpu, dtype=torch.bfloat16) for _ in range(3))
    exact = attend_with("_native_math")(q.float(), k.float(), v.float())
    for name in ("_native_flash", "_native_cudnn", FLASH_3):
        try:
            off = error(attend_with(name)(q, k, v), exact)
            print(f"{name}: {off:.5f} off", flush=True)
            bad = not off < 0.01
        except Exception as found:
            print(f"{name}: {type(found).__name__}: {str(found)[:300]}", flush=True)
            bad = True
        if bad and name == FLASH_3:
            status = status or 1
    return status


if __name__ == "__main__":
    sys.exit(main())
