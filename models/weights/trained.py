"""Trained parts of the tiny models, which ship with the package.

`tools/tiny` made them; `trained_tiny/README.md` is their card.

Transformers are in 8 bits (models.weights.eight_bits), all else in 16, in the folders that diffusers writes. Who reads
them computes in what the device is given.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.weights import eight_bits

if TYPE_CHECKING:
    from torch import Tensor

#: one folder for each part; `text_encoder` and `tokenizer` are every model's, `vae22` is that of ti2v, `vae21` that of
#: all others; `loras` has files
FOLDER = Path(__file__).with_name("trained_tiny")
#: file of a transformer's weights, beside its configuration
_WEIGHTS = "eight_bits.safetensors"
#: how strong the parts are that Animate has and nobody trained
_FAINT = 0.01


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
    from diffusers import WanTransformer3DModel

    return _filled(_blank(WanTransformer3DModel, name), name)


def vace(name: str, base: str) -> Any:
    """An expert of VACE: its own part, over the expert of text to video that it was trained on."""
    from diffusers import WanVACETransformer3DModel

    return _filled(_blank(WanVACETransformer3DModel, name), base, name)


def animate() -> Any:
    """The transformer of Animate. What looks at faces, and at the picture with CLIP, is random and hardly heard."""
    import torch
    from diffusers import WanAnimateTransformer3DModel

    dit = _blank(WanAnimateTransformer3DModel, "animate")
    with torch.no_grad():
        for layer in (*dit.face_adapter, *(block.attn2 for block in dit.blocks)):
            last = layer.add_v_proj if hasattr(layer, "add_v_proj") else layer.to_out
            last.weight.mul_(_FAINT)
            last.bias.zero_()
    return _filled(dit, "animate")


def lora(name: str) -> Path:
    """A LoRA's file by its name, for one expert: t2v-4step-high, t2v-4step-low; t2v-ink-high, t2v-ink-low."""
    return FOLDER / "loras" / f"{name}.safetensors"


def write(weights: "dict[str, Tensor]", folder: Path) -> None:
    """The weights of a transformer, or of a part of one, beside its configuration."""
    eight_bits.write(weights, folder / _WEIGHTS)


def _blank(kind: Any, name: str) -> Any:
    return kind.from_config(kind.load_config(str(FOLDER / name)))


def _filled(dit: Any, *names: str) -> Any:
    """Put the parts' weights into it, one after another; in 16 bits."""
    import torch

    for name in names:
        dit.load_state_dict({**dit.state_dict(), **eight_bits.read(FOLDER / name / _WEIGHTS)})
    return dit.to(torch.float16)
