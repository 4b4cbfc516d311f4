"""The same sums of Wan's VAEs in fp32 on a CPU, where torch does two of them slowly. For one clip of small frames
Conv3d lays out every window of the input in memory first, 27 times the input; a norm over the channels is not
vectorized. By oneDNN, and as a root of a sum, they take a tenth at 128 pixels a side."""

from functools import cache
from typing import Any

#: of torch.nn.functional.normalize
_SHORTEST = 1e-12


@cache
def use() -> None:
    """For the VAEs' layers, whoever loads them; on other devices and in other formats they stay as they are, and so do
    other convolutions of this process."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanRMS_norm

    if torch.backends.mkldnn.is_available():
        WanCausalConv3d._conv_forward = _convolution(WanCausalConv3d._conv_forward)
    WanRMS_norm.forward = _norm(WanRMS_norm.forward)


def _convolution(otherwise: Any) -> Any:
    import torch

    def forward(layer: Any, frames: Any, weight: Any, bias: Any) -> Any:
        if not (_fp32_on_cpu(frames) and _fp32_on_cpu(weight)):
            return otherwise(layer, frames, weight, bias)
        straight = _laid_out(frames)
        return torch.mkldnn_convolution(
            straight, weight, bias, layer.padding, layer.stride, layer.dilation, layer.groups
        )

    return forward


def _norm(otherwise: Any) -> Any:
    def forward(layer: Any, frames: Any) -> Any:
        if not _fp32_on_cpu(frames):
            return otherwise(layer, frames)
        straight = _laid_out(frames)
        length = straight.square().sum(1 if layer.channel_first else -1, keepdim=True).sqrt().clamp_min(_SHORTEST)
        return straight / length * (layer.scale * layer.gamma) + layer.bias

    return forward


def _fp32_on_cpu(tensor: Any) -> bool:
    import torch

    return bool(tensor.dtype == torch.float32 and tensor.device.type == "cpu")


def _laid_out(frames: Any) -> Any:
    """So that the order of the sums does not depend on how the input lies in memory."""
    return frames.contiguous()
