"""From trained parts to the folders that the package carries (models.weights.trained), numbers in 16 bits."""

import shutil
from pathlib import Path

import torch

from tools.tiny import autoencoders, distil, experts, sizes, style, words


def ship(trained: Path, folder: Path) -> list[str]:
    """Write every part that was trained, stems apart, and every LoRA; returns their names."""
    from safetensors.torch import load_file

    words.tokenizer().save_pretrained(str(folder / "tokenizer"))
    words.encoder().to(torch.float16).save_pretrained(str(folder / "text_encoder"), safe_serialization=True)
    written = []
    for kind in sizes.VAES:
        if (trained / f"{kind}.safetensors").is_file() and (trained / f"{kind}.settled").is_file():
            vae = autoencoders.load(kind, trained / f"{kind}.safetensors")
            vae.to(torch.float16).save_pretrained(str(folder / kind), safe_serialization=True)
            written.append(kind)
    for name in experts.EXPERTS:
        if (trained / f"{name}.safetensors").is_file() and not name.endswith("-stem"):
            dit = experts.make(name)
            dit.load_state_dict(load_file(trained / f"{name}.safetensors"))
            dit.to(torch.float16).save_pretrained(str(folder / name), safe_serialization=True)
            written.append(name)
    for name in (*distil.NAMES, *style.NAMES):
        if (trained / f"{name}.safetensors").is_file():
            (folder / "loras").mkdir(exist_ok=True)
            shutil.copyfile(trained / f"{name}.safetensors", folder / "loras" / f"{name}.safetensors")
            written.append(name)
    return written
