"""Wan at full size with random weights, made on the device itself: no download, no disk, the same arithmetic.

What the weights are decides no time; what they are not (trained) decides that the pictures are noise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from models import catalog
from models.catalog.model import Model
from models.weights import tiny

#: catalog ids -> what is built when there is no GPU
SMALL = {catalog.T2V_A14B.id: f"{catalog.T2V_A14B.id}-tiny", catalog.TI2V_5B.id: f"{catalog.TI2V_5B.id}-tiny"}
#: Wan's own sizes; those of A14B are diffusers' defaults
_TI2V = {"num_attention_heads": 24, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48}
_UMT5_XXL = {
    "vocab_size": 256384,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
_VAE22 = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "latents_mean": [0.0] * 48,
    "latents_std": [1.0] * 48,
}


def pipeline(model: Model, device: Any) -> Any:
    """A WanPipeline as the documentation makes one: bf16, its VAE in fp32, torch's own attention. `model.dit.layers`
    blocks in each expert: a model may be cut down."""
    import torch
    from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    if model.weights.tiny:
        pipe = {catalog.T2V_A14B.id: tiny._t2v, catalog.TI2V_5B.id: tiny._ti2v}[model.id.removesuffix("-tiny")]()
        pipe.set_progress_bar_config(disable=True)
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                # parts that ship are stored in 16 bits
                part.eval().float()
        return pipe
    single = model.experts == 1
    with _made_on(device, torch.bfloat16):
        sizes = {**(_TI2V if single else {}), "num_layers": model.dit.layers}
        experts = {
            part: _in_mixed_precision(WanTransformer3DModel(**sizes))
            for part in ("transformer", "transformer_2")[: model.experts]
        }
        text_encoder = UMT5EncoderModel(UMT5Config(**_UMT5_XXL))
    with _made_on(device, torch.float32):
        vae = AutoencoderKLWan(**(_VAE22 if single else {}))
    parts = {name: part.eval().requires_grad_(False) for name, part in experts.items()}
    pipe = WanPipeline(
        tokenizer=tiny._text()["tokenizer"],
        text_encoder=text_encoder.eval().requires_grad_(False),
        vae=vae.eval().requires_grad_(False),
        scheduler=tiny._scheduler(),
        **parts,
        boundary_ratio=model.boundary,
        expand_timesteps=single,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def _made_on(device: Any, dtype: Any) -> Iterator[None]:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def _in_mixed_precision(expert: Any) -> Any:
    """What diffusers keeps in fp32 inside a bf16 model when it loads one."""
    import torch

    for name, module in expert.named_modules():
        if any(part in expert._keep_in_fp32_modules for part in name.split(".")):
            module.float()
    for name, parameter in expert.named_parameters():
        if any(part in expert._keep_in_fp32_modules for part in name.split(".")):
            parameter.data = parameter.data.to(torch.float32)
    return expert
