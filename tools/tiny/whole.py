"""A Wan VAE on a whole clip at once, its convolutions over time as flat ones. The class itself goes picture by picture
with caches, to save memory; the result is the same, and a training step has a fifth of the kernels, all quick ones."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def scaling(vae: Any, device: Any) -> tuple[Tensor, Tensor]:
    """Mean and deviation of its latents, (1, C, 1, 1, 1) each: a transformer sees (latents - mean) / deviation."""
    mean, std = (
        torch.tensor(values, device=device).view(1, -1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, std


def encode(vae: Any, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and logarithm of the variance of the latents, as of `vae.encode`. clips: (B, 3, 4n+1, H, W)."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

    coder = vae.encoder
    x = clips if vae.config.patch_size is None else patchify(clips, vae.config.patch_size)
    x = _conv(coder.conv_in, x.contiguous(memory_format=torch.channels_last_3d))
    for block in coder.down_blocks:
        x = _down(block, x)
    x = _head(coder, _middle(coder.mid_block, x))
    mean, spread = _conv(vae.quant_conv, x).chunk(2, dim=1)
    return mean, spread.clamp(-30.0, 20.0)


def decode(vae: Any, latents: Tensor) -> Tensor:
    """What `vae.decode` makes of them, before its last clamp, beyond which nothing would be learned."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

    coder = vae.decoder
    x = _conv(vae.post_quant_conv, latents.contiguous(memory_format=torch.channels_last_3d))
    x = _middle(coder.mid_block, _conv(coder.conv_in, x))
    for block in coder.up_blocks:
        x = _up(block, x)
    x = _head(coder, x)
    return x if vae.config.patch_size is None else unpatchify(x, vae.config.patch_size)


def _conv(part: Any, x: Tensor) -> Tensor:
    """A causal convolution: the pictures that one output sees are laid over each other as channels."""
    weight, bias = part.weight, part.bias
    deep, step = weight.shape[2], part.stride[0]
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))  # before it is copied
    if deep > 1:
        x = F.pad(x, (0, 0, 0, 0, part._padding[4], 0))
        count = (x.shape[2] - deep) // step + 1
        x = torch.cat([x[:, :, first : first + (count - 1) * step + 1 : step] for first in range(deep)], 1)
    flat = weight.transpose(1, 2).flatten(1, 2)
    return _flat(lambda pictures: F.conv2d(pictures, flat, bias, padding=weight.shape[-1] // 2), x)


def _flat(part: Any, x: Tensor) -> Tensor:
    """A two-dimensional layer on every picture."""
    count, _, time = x.shape[:3]
    x = part(x.transpose(1, 2).flatten(0, 1))
    return x.unflatten(0, (count, time)).transpose(1, 2)


def _residual(block: Any, x: Tensor) -> Tensor:
    kept = x if isinstance(block.conv_shortcut, torch.nn.Identity) else _conv(block.conv_shortcut, x)
    x = _conv(block.conv1, block.nonlinearity(block.norm1(x)))
    return _conv(block.conv2, block.nonlinearity(block.norm2(x))) + kept


def _middle(block: Any, x: Tensor) -> Tensor:
    x = _residual(block.resnets[0], x)
    return _residual(block.resnets[1], block.attentions[0](x))


def _head(coder: Any, x: Tensor) -> Tensor:
    return _conv(coder.conv_out, coder.nonlinearity(coder.norm_out(x)))


def _down(block: Any, x: Tensor) -> Tensor:
    if hasattr(block, "resample"):
        return _fewer(block, x)
    if not hasattr(block, "avg_shortcut"):
        return _residual(block, x)
    kept = x
    for part in block.resnets:
        x = _residual(part, x)
    if block.downsampler is not None:
        x = _fewer(block.downsampler, x)
    return x + block.avg_shortcut(kept)


def _up(block: Any, x: Tensor) -> Tensor:
    kept = x
    for part in block.resnets:
        x = _residual(part, x)
    upsampler = block.upsampler if hasattr(block, "upsampler") else (block.upsamplers or [None])[0]
    if upsampler is not None:
        x = _more(upsampler, x)
    shortcut = getattr(block, "avg_shortcut", None)
    return x if shortcut is None else x + _repeated(shortcut, kept)


def _repeated(part: Any, x: Tensor) -> Tensor:
    """The shortcut of a residual block that enlarges: channels become places, and moments but for the first."""
    time, side = part.factor_t, part.factor_s
    x = x.unsqueeze(2).expand(-1, -1, part.repeats, -1, -1, -1).flatten(1, 2)
    x = x.unflatten(1, (part.out_channels, time, side, side)).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)[:, :, time - 1 :]


def _fewer(part: Any, x: Tensor) -> Tensor:
    """Half the sides and, where the layer does that, half the pictures but the first."""
    x = _flat(part.resample, x)
    return torch.cat([x[:, :, :1], _conv(part.time_conv, x)], 2) if part.mode == "downsample3d" else x


def _more(part: Any, x: Tensor) -> Tensor:
    """Twice the sides and, where the layer does that, two pictures for each but the first."""
    if part.mode == "upsample3d":
        pairs = _conv(part.time_conv, x[:, :, 1:]).unflatten(1, (2, -1))
        x = torch.cat([x[:, :, :1], torch.stack([pairs[:, 0], pairs[:, 1]], 3).flatten(2, 3)], 2)
    return _flat(part.resample, x)
