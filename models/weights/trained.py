"""Trained parts of the tiny models, which ship with the package.

`tools/tiny` made them; `trained_tiny/README.md` is their card.

They are in 16 bits, in the folders that diffusers writes. Who reads them computes in what the device is given.
"""

from pathlib import Path
from typing import Any

#: one folder for each part; `text_encoder` and `tokenizer` are every model's, `vae21` is that of all but the 5B-like one
FOLDER = Path(__file__).with_name("trained_tiny")
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
    import torch
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel.from_pretrained(str(FOLDER / name), dtype=torch.float16)


def vace(name: str, base: str) -> Any:
    """An expert of VACE: its own part, over the expert of text to video that it was trained on."""
    import torch
    from diffusers import WanVACETransformer3DModel
    from safetensors.torch import load_file

    dit = WanVACETransformer3DModel.from_config(WanVACETransformer3DModel.load_config(str(FOLDER / name)))
    dit.load_state_dict({**load_file(_weights(base)), **load_file(_weights(name))})
    return dit.to(torch.float16)


def animate() -> Any:
    """The transformer of Animate. What looks at faces, and at the picture with CLIP, is random and hardly heard."""
    import torch
    from diffusers import WanAnimateTransformer3DModel
    from safetensors.torch import load_file

    dit = WanAnimateTransformer3DModel.from_config(WanAnimateTransformer3DModel.load_config(str(FOLDER / "animate")))
    with torch.no_grad():
        for layer in (*dit.face_adapter, *(block.attn2 for block in dit.blocks)):
            last = layer.add_v_proj if hasattr(layer, "add_v_proj") else layer.to_out
            last.weight.mul_(_FAINT)
            last.bias.zero_()
    dit.load_state_dict({**dit.state_dict(), **load_file(_weights("animate"))})
    return dit.to(torch.float16)


def _weights(name: str) -> str:
    return str(FOLDER / name / "diffusion_pytorch_model.safetensors")
