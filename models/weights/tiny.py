"""Tiny weights in the layout of the real ones: the real diffusers classes, small enough for a CPU.

Text and image to video, of two experts or of one, are put together of trained parts (models.weights.trained) and draw
what a prompt of their few words says. The others are built from configurations and random numbers: they draw noise.
Offline and deterministic: the same versions build the same bytes.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models import catalog
from models.weights import trained

#: the vocabulary of the tiny tokenizer; any other character is a token of its own
_WORDS = "a an the of in on and with red fox runs through snow cat dog man woman walks video blurry static"

_DIT: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 4,
    "attention_head_dim": 24,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 288,
    "num_layers": 2,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 1024,
}


def ensure(models_dir: Path, model_id: str) -> Path:
    """The folder of a tiny model, built when it is missing. Safe when two processes do it at once.

    Raises ValueError for a model that has real weights: those are pulled, never made up.
    """
    model = catalog.MODELS.get(model_id)
    if model is not None and model.base is not None and not model.loras:
        return ensure(models_dir, model.base)  # the same weights, computed with in another way
    folder = models_dir / model_id
    if folder.is_dir():
        return folder
    models_dir.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{model_id}.", dir=models_dir))
    try:
        build(model_id, draft)
        draft.chmod(0o755)
        try:
            draft.rename(folder)
        except OSError:  # another process was first (rename onto a folder that is not empty)
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def build(model_id: str, folder: Path) -> None:
    """Build the tiny model into `folder`, the same bytes every time; of a model with a base, only its LoRAs."""
    import torch

    model = catalog.get(model_id)
    if model.weights.tiny and model.base is not None:
        kind = _LORAS.get(model.id)
        for number, lora in enumerate(model.loras):
            path = folder / f"{lora.expert}.safetensors"
            if kind is not None:
                shutil.copyfile(trained.lora(f"{kind}-{lora.expert}"), path)
            else:
                lora_file(path, seed=number, model_id=model.id)
        return
    make = _BUILDERS.get(model_id.removesuffix("-tiny"))
    if not model.weights.tiny or make is None:
        raise ValueError(f"{model_id} is not a tiny model: its weights are pulled")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        make().save_pretrained(str(folder), safe_serialization=True)


def lora_file(
    path: Path, seed: int, rank: int = 4, strength: float = 0.2, model_id: str = catalog.tiny_of(catalog.T2V_A14B.id)
) -> None:
    """A random LoRA for one expert of a tiny model, with the names that Wan's own trainers write."""
    import torch
    from safetensors.torch import save_file

    dit = catalog.get(model_id).dit
    width, ffn = dit.dim, dit.ffn
    sides = {f"{kind}_attn.{part}": (width, width) for kind in ("self", "cross") for part in "qkvo"}
    sides |= {"ffn.0": (width, ffn), "ffn.2": (ffn, width)}
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for block in range(dit.layers):
        for name, (inward, outward) in sides.items():
            key = f"diffusion_model.blocks.{block}.{name}"
            tensors[f"{key}.lora_down.weight"] = torch.randn(rank, inward, generator=random) * strength
            tensors[f"{key}.lora_up.weight"] = torch.randn(outward, rank, generator=random) * strength
            tensors[f"{key}.alpha"] = torch.tensor(float(rank))
    save_file(tensors, path)


def _t2v() -> Any:
    from diffusers import WanPipeline

    return WanPipeline(
        **trained.text(),
        vae=trained.vae("vae21"),
        scheduler=_scheduler(),
        transformer=trained.transformer("t2v-high"),
        transformer_2=trained.transformer("t2v-low"),
        boundary_ratio=0.875,
    )


def _i2v() -> Any:
    from diffusers import WanImageToVideoPipeline

    return WanImageToVideoPipeline(
        **trained.text(),
        vae=trained.vae("vae21"),
        scheduler=_scheduler(),
        transformer=trained.transformer("i2v-high"),
        transformer_2=trained.transformer("i2v-low"),
        boundary_ratio=0.9,
    )


def _ti2v() -> Any:
    from diffusers import WanPipeline

    return WanPipeline(
        **trained.text(),
        vae=trained.vae("vae22"),
        scheduler=_scheduler(),
        transformer=trained.transformer("ti2v"),
        expand_timesteps=True,
    )


def _vace() -> Any:
    from diffusers import WanVACEPipeline

    return WanVACEPipeline(
        **trained.text(),
        vae=trained.vae("vae21"),
        scheduler=_scheduler(),
        transformer=trained.vace("vace-high", "t2v-high"),
        transformer_2=trained.vace("vace-low", "t2v-low"),
        boundary_ratio=0.875,
    )


def _animate() -> Any:
    from diffusers import WanAnimatePipeline

    return WanAnimatePipeline(
        **trained.text(),
        **_eyes(),
        vae=trained.vae("vae21"),
        scheduler=_scheduler(),
        transformer=trained.animate(),
    )


class _Folders:
    """Parts that no classic pipeline holds together, saved as one would."""

    def __init__(self, class_name: str, parts: dict[str, Any]) -> None:
        self._class_name, self._parts = class_name, parts

    def save_pretrained(self, folder: str, **_: Any) -> None:
        index: dict[str, Any] = {"_class_name": self._class_name}
        for name, part in self._parts.items():
            part.save_pretrained(str(Path(folder) / name))
            index[name] = [type(part).__module__.partition(".")[0], type(part).__name__]
        (Path(folder) / "model_index.json").write_text(json.dumps(index, indent=2))


def _animate_2() -> Any:
    import torch
    from diffusers import WanAnimate2Transformer3DModel
    from transformers import CLIPVisionConfig, CLIPVisionModel

    transformer = WanAnimate2Transformer3DModel(
        dim=32, ffn_dim=48, freq_dim=32, text_dim=32, num_heads=2, num_layers=2, in_dim=36, out_dim=16
    )
    # the transformer takes a picture encoder of this width and no other
    config = CLIPVisionConfig(
        hidden_size=1280,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=16,
        image_size=224,
        patch_size=16,
    )
    eyes = CLIPVisionModel(config).to(torch.bfloat16)
    parts = {**_text(), "image_encoder": eyes, "vae": _vae21(), "transformer": transformer, "scheduler": _scheduler()}
    return _Folders(catalog.MODULAR, parts)


#: the kind of the trained LoRAs that a model consists of
_LORAS = {catalog.tiny_of(catalog.T2V_4STEP.id): "t2v-4step"}

_BUILDERS: dict[str, Callable[[], Any]] = {
    catalog.T2V_A14B.id: _t2v,
    catalog.I2V_A14B.id: _i2v,
    catalog.TI2V_5B.id: _ti2v,
    catalog.VACE_A14B.id: _vace,
    catalog.ANIMATE_14B.id: _animate,
    catalog.ANIMATE_2.id: _animate_2,
}


def _text() -> dict[str, Any]:
    """Tokenizer from a literal vocabulary (a trained one would need a file) and a text encoder of two layers."""
    from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    vocab += [("\u2581" + word, -3.0) for word in _WORDS.split()]
    vocab += [(chr(code), -6.0) for code in range(33, 127)]
    tokenizer = T5Tokenizer(vocab=vocab, extra_ids=0, additional_special_tokens=[], model_max_length=512)
    config = UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    return {"tokenizer": tokenizer, "text_encoder": UMT5EncoderModel(config)}


def _eyes() -> dict[str, Any]:
    """The picture encoder of the models that look at a character."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=16,
    )
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return {"image_encoder": CLIPVisionModel(config), "image_processor": processor}


def _dit(in_channels: int, out_channels: int, **more: Any) -> Any:
    """A random transformer of two layers, for a pipeline that has no trained one."""
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(in_channels=in_channels, out_channels=out_channels, **{**_DIT, **more})


def _vae21() -> Any:
    """The shape of Wan 2.1's VAE (every A14B model's): 16 channels, 8x8x4."""
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )


def _scheduler() -> Any:
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(
        num_train_timesteps=1000, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
