"""From trained parts to the folders that the package carries (models.weights.trained), numbers in 16 bits."""

from pathlib import Path

import torch

from tools.tiny import animate, autoencoders, experts, sizes, vace, words


def ship(trained: Path, folder: Path) -> list[str]:
    """Write every part that was trained, stems apart; returns their names."""
    from safetensors.torch import load_file, save_file

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
    partial = {**dict.fromkeys(vace.ROLES, vace.blank), animate.NAME: animate.blank}
    for name, blank in partial.items():
        if (trained / f"{name}.safetensors").is_file():
            blank().save_config(str(folder / name))
            part = load_file(trained / f"{name}.safetensors")
            half = {key: weight.to(torch.float16) for key, weight in part.items()}
            save_file(half, folder / name / "diffusion_pytorch_model.safetensors")
            written.append(name)
    return written
