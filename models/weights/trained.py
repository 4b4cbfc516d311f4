"""Trained parts of the tiny models, which ship with the package.

`tools/tiny` made them; `trained_tiny/README.md` is their card.

They are in 16 bits, in the folders that diffusers writes. Who reads them computes in what the device is given.
"""

from pathlib import Path
from typing import Any

#: one folder for each part; `text_encoder` and `tokenizer` are every model's, `vae21` is that of t2v and i2v, `vae22`
#: that of ti2v; `loras` has files
FOLDER = Path(__file__).with_name("trained_tiny")


def text() -> dict[str, Any]:
    """The tokenizer, which drops every word that is not of the drawn world, and the text encoder."""
    from transformers import AutoTokenizer, UMT5EncoderModel

    return {
        "tokenizer": AutoTokenizer.from_pretrained(str(FOLDER / "tokenizer")),
        "text_encoder": UMT5EncoderModel.from_pretrained(str(FOLDER / "text_encoder"), dtype="auto"),
    }


def vae(name: str) -> Any:
    """A VAE by its part's name."""
    import torch
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan.from_pretrained(str(FOLDER / name), dtype=torch.float16)


def transformer(name: str) -> Any:
    """An expert by its part's name."""
    import torch
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel.from_pretrained(str(FOLDER / name), dtype=torch.float16)


def lora(name: str) -> Path:
    """A LoRA's file by its name, for one expert: t2v-4step-high, t2v-4step-low; t2v-ink-high, t2v-ink-low."""
    return FOLDER / "loras" / f"{name}.safetensors"
