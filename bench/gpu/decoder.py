"""Another way to compute a Wan VAE in bf16 with its channels last, the same sums: norm and SiLU in one kernel that is
exact inside, no frame of zeros copied around what a convolution can pad by itself, no rounding up to fp32 and back to
repeat pixels."""

from typing import Any

from bench.gpu import kernels


def make_lean(vae: Any) -> None:
    """For good: a copy of a VAE that models.speed.set_vae has put in bf16."""
    import torch
    from diffusers.models.autoencoders import autoencoder_kl_wan as wan

    for module in vae.modules():
        if isinstance(module, wan.WanResidualBlock):
            module.norm1.forward, module.norm2.forward = (_Norm(one, True) for one in (module.norm1, module.norm2))
            module.nonlinearity = torch.nn.Identity()
        elif isinstance(module, (wan.WanDecoder3d, wan.WanEncoder3d)):
            module.norm_out.forward = _Norm(module.norm_out, True)
            module.nonlinearity = torch.nn.Identity()
        elif isinstance(module, wan.WanAttentionBlock):
            module.norm.forward = _Norm(module.norm, False)
        elif isinstance(module, wan.WanCausalConv3d):
            module.forward = _Causal(module)
        elif isinstance(module, wan.WanUpsample):
            module.forward = _Twice()


class _Norm:
    def __init__(self, norm: Any, silu: bool) -> None:
        self.norm, self.silu = norm, silu

    def __call__(self, x: Any) -> Any:
        return kernels.rms_silu(x, self.norm.gamma.reshape(-1), self.norm.scale, silu=self.silu)


class _Causal:
    """What is before the clip is zeros, or the cached frames; the borders of the pictures are the convolution's own."""

    def __init__(self, conv: Any) -> None:
        self.conv = conv
        left, right, top, bottom, self.before, _ = conv._padding
        self.sides = (0, top, left)
        assert left == right
        assert top == bottom

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


class _Twice:
    """Nearest neighbours need no arithmetic."""

    def __call__(self, x: Any) -> Any:
        b, c, h, w = x.shape
        import torch

        flat = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        twice = flat[:, :, None, :, None].expand(b, h, 2, w, 2, c).reshape(b, 2 * h, 2 * w, c)
        return twice.permute(0, 3, 1, 2)
