"""From trained weights to the parts that the package carries (models.weights.trained)."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from models.weights import trained
from tools.tiny import animate, autoencoders, distil, experts, sizes, style, vace, words

#: every transformer, or part of one, and what makes its like with other weights
_BLANKS: dict[str, Callable[[], Any]] = {
    **{name: partial(experts.make, name) for name in experts.EXPERTS if not name.endswith("-stem")},
    **dict.fromkeys(vace.ROLES, vace.blank),
    animate.NAME: animate.blank,
}


def ship(made: Path, folder: Path) -> list[str]:
    """Write every part whose weights are in `made`, stems apart; returns their names."""
    from safetensors.torch import load_file

    words.tokenizer().save_pretrained(str(folder / "tokenizer"))
    words.encoder().to(torch.float16).save_pretrained(str(folder / "text_encoder"), safe_serialization=True)
    written = []
    for kind in sizes.VAES:
        if (made / f"{kind}.safetensors").is_file() and (made / f"{kind}.settled").is_file():
            vae = autoencoders.load(kind, made / f"{kind}.safetensors")
            vae.to(torch.float16).save_pretrained(str(folder / kind), safe_serialization=True)
            written.append(kind)
    for name, blank in _BLANKS.items():
        if (made / f"{name}.safetensors").is_file():
            blank().save_config(str(folder / name))
            trained.write(load_file(made / f"{name}.safetensors"), folder / name)
            written.append(name)
    for name in (*distil.NAMES, *style.NAMES):
        if (made / f"{name}.safetensors").is_file():
            (folder / "loras").mkdir(exist_ok=True)
            shutil.copyfile(made / f"{name}.safetensors", folder / "loras" / f"{name}.safetensors")
            written.append(name)
    return written
