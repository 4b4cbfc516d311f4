"""Wan's VAEs in bf16 with their channels last, the same sums with less traffic: norm and SiLU in one kernel that
computes in fp32 inside, no frame of zeros copied around what a convolution can pad by itself, no rounding up to fp32
and back to repeat pixels."""

import math
from typing import Any

from models.acceleration import kernels
from models.acceleration.fused_blocks import KNOWN_DIFFUSERS


def fuse(vae: Any) -> None:
    """For good: a VAE that models.acceleration.tuning.set_vae has put in bf16."""
    import torch
    from diffusers.models.autoencoders import autoencoder_kl_wan as wan

    for module in vae.modules():
        if isinstance(module, wan.WanResidualBlock):
            module.norm1.forward, module.norm2.forward = _Norm(module.norm1, silu=True), _Norm(module.norm2, silu=True)
            module.nonlinearity = torch.nn.Identity()
        elif isinstance(module, (wan.WanDecoder3d, wan.WanEncoder3d)):
            module.norm_out.forward = _Norm(module.norm_out, silu=True)
            module.nonlinearity = torch.nn.Identity()
        elif isinstance(module, wan.WanAttentionBlock):
            module.norm.forward = _Norm(module.norm, silu=False)
        elif isinstance(module, wan.WanCausalConv3d):
            module.forward = _Causal(module)
        elif isinstance(module, wan.WanUpsample):
            module.forward = _twice


def knows() -> bool:
    """Whether the VAEs are of a release whose modules are known."""
    import diffusers

    return diffusers.__version__ in KNOWN_DIFFUSERS


def error_on(device: Any, *, residual: bool) -> float:
    """How much further from a small VAE's frames in fp32 this is than diffusers' own way, both in bf16 on the device:
    relative, 0 when it is nearer. Three latent frames, so that every kind of cached frame is read.

    residual: a VAE built as TI2V-5B's, not as that of Wan 2.1
    """
    import torch
    from diffusers import AutoencoderKLWan

    kind: dict[str, Any] = {"is_residual": True, "in_channels": 12, "out_channels": 12, "patch_size": 2}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderKLWan(base_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1, **(kind if residual else {}))
        vae.eval().to(device)
        latents = torch.randn(1, 16, 3, 3, 5).to(device, torch.bfloat16)
        exact = vae.decode(latents.float()).sample
        vae.to(torch.bfloat16)
        theirs = vae.decode(latents).sample.float()
        fuse(vae)
        ours = vae.decode(latents).sample.float()
        off, usual = (float((frames - exact).norm() / exact.norm()) for frames in (ours, theirs))
        return off if math.isnan(off) else max(0.0, off - usual)


class _Norm:
    def __init__(self, norm: Any, *, silu: bool) -> None:
        self.norm, self.silu = norm, silu

    def __call__(self, x: Any) -> Any:
        return kernels.rms_silu(x, self.norm.gamma.reshape(-1), self.norm.scale, silu=self.silu)


class _Causal:
    """What is before the clip is zeros, or the cached frames; the borders of the pictures are the convolution's own."""

    def __init__(self, conv: Any) -> None:
        self.conv = conv
        left, right, top, bottom, self.before, _ = conv._padding
        if (left, top) != (right, bottom):
            raise ValueError(f"a convolution that pads its sides unequally: {conv._padding}")
        self.sides = (0, top, left)

    def __call__(self, x: Any, cache_x: Any = None) -> Any:
        import torch

        conv, before = self.conv, self.before
        layout = torch.channels_last_3d
        pieces = [x]
        if cache_x is not None and before > 0:
            pieces.insert(0, cache_x)
            before -= cache_x.shape[2]
        if before > 0:
            b, c, _, h, w = x.shape
            pieces.insert(0, x.new_zeros(b, c, before, h, w))
        x = torch.cat([piece.contiguous(memory_format=layout) for piece in pieces], 2) if len(pieces) > 1 else x
        return torch.nn.functional.conv3d(
            x.contiguous(memory_format=layout), conv.weight, conv.bias, conv.stride, self.sides, conv.dilation
        )


def _twice(x: Any) -> Any:
    """Nearest neighbours need no arithmetic."""
    import torch

    b, c, h, w = x.shape
    flat = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    twice = flat[:, :, None, :, None].expand(b, h, 2, w, 2, c).reshape(b, 2 * h, 2 * w, c)
    return twice.permute(0, 3, 1, 2)
