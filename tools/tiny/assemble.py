"""From trained parts to folders as diffusers' pipelines load them, numbers in 16 bits."""

from pathlib import Path
from typing import Any

import torch

from tools.tiny import autoencoders, experts, words
from tools.tiny.experts import EXPERTS

#: catalog id -> (pipeline class, its transformers, the first for more noise, and what else it is told)
FOLDERS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "wan2.2-t2v-a14b-tiny": ("WanPipeline", ("t2v-high", "t2v-low"), {"boundary_ratio": 0.875}),
    "wan2.2-i2v-a14b-tiny": ("WanImageToVideoPipeline", ("i2v-high", "i2v-low"), {"boundary_ratio": 0.9}),
    "wan2.2-ti2v-5b-tiny": ("WanPipeline", ("ti2v",), {"expand_timesteps": True}),
}


def assemble(trained: Path, folder: Path, model_id: str) -> bool:
    """Write the model's folder into `folder`; False when a part of it was not trained."""
    import diffusers
    from safetensors.torch import load_file

    name, parts, settings = FOLDERS[model_id]
    kind = EXPERTS[parts[0]].vae
    if not all((trained / f"{part}.safetensors").is_file() for part in (kind, *parts)):
        return False
    transformers = []
    for part in parts:
        dit = experts.make(part)
        dit.load_state_dict(load_file(trained / f"{part}.safetensors"))
        transformers.append(dit.to(torch.float16))
    pipe = getattr(diffusers, name)(
        tokenizer=words.tokenizer(),
        text_encoder=words.encoder().to(torch.float16),
        vae=autoencoders.load(kind, trained / f"{kind}.safetensors").to(torch.float16),
        scheduler=diffusers.UniPCMultistepScheduler(
            num_train_timesteps=1000, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        transformer=transformers[0],
        transformer_2=transformers[1] if len(transformers) > 1 else None,
        **settings,
    )
    pipe.save_pretrained(str(folder / model_id), safe_serialization=True)
    return True


def main(trained: Path, folder: Path) -> None:
    for model_id in FOLDERS:
        made = assemble(trained, folder, model_id)
        print(f"{model_id}: {'written' if made else 'a part is missing'}")
