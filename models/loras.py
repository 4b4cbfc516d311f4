"""LoRAs: looked at before anything trusts them, fused when they make a lane, put on and off when a job brings them.

Files in the forms that trainers write (Wan's own names, musubi, peft) are told apart by diffusers.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models.model import LoraFile
from models.request import Lora

#: a rank beyond this is no LoRA but a model
MAX_RANK = 512
#: parts that Wan 2.1's image models have and 2.2's have not; files made for both carry them
_ABSENT = ("add_k_proj", "add_v_proj", "norm_added_k")


class LoraError(ValueError):
    """A LoRA file that cannot be used; the text says why."""


def check(path: Path) -> int:
    """The rank of a LoRA file that looks right. Reads all of it; needs no model.

    Raises LoraError for anything but safetensors of low-rank pairs with finite numbers.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    ranks: set[int] = set()
    try:
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                tensor = tensors.get_tensor(name)
                if not bool(torch.isfinite(tensor.float()).all()):
                    raise LoraError(f"{name} holds numbers that are not finite")
                if name.endswith(("lora_down.weight", "lora_A.weight")):
                    ranks.add(min(tensor.shape))
    except (SafetensorError, OSError) as error:
        raise LoraError("this is not a safetensors file") from error
    if not ranks:
        raise LoraError("there are no LoRA weights (lora_down/lora_up or lora_A/lora_B) in this file")
    if max(ranks) > MAX_RANK:
        raise LoraError(f"rank {max(ranks)} is more than {MAX_RANK}")
    return max(ranks)


def fuse(pipe: Any, folder: Path, files: Iterable[LoraFile]) -> None:
    """Add a lane's own LoRAs to its experts' weights for good: no cost per step, and no way back but loading anew."""
    for file in files:
        _load(pipe, folder / f"{file.expert}.safetensors", file.name, file.expert)
    pipe.fuse_lora(components=_parts(pipe), safe_fusing=True)
    pipe.unload_lora_weights()


def put_on(pipe: Any, loras: tuple[Lora, ...]) -> None:
    """Take off what the last job wore and put these on. The weights underneath are never touched."""
    take_off(pipe)
    worn: dict[str, list[tuple[str, float]]] = {part: [] for part in _parts(pipe)}
    for number, lora in enumerate(loras):
        name = f"lora{number}"
        for part in _load(pipe, Path(lora.path), name, lora.expert):
            worn[part].append((name, lora.scale))
    for part, adapters in worn.items():
        if adapters:
            getattr(pipe, part).set_adapters([name for name, _ in adapters], [scale for _, scale in adapters])


def take_off(pipe: Any) -> None:
    """Leave the bare weights, the same to the bit as before."""
    if any(getattr(getattr(pipe, part), "peft_config", None) for part in _parts(pipe)):
        pipe.unload_lora_weights()


def _load(pipe: Any, path: Path, name: str, expert: str) -> list[str]:
    """Load one file as an adapter of the experts that it is for; returns their part names."""
    from safetensors.torch import load_file

    check(path)
    parts = _parts(pipe)
    if expert not in ("high", "low", "both"):
        raise LoraError(f"expert {expert!r} is none of high, low, both")
    if expert == "low" and len(parts) == 1:
        raise LoraError("this model has one expert; a LoRA for the low-noise one does not fit")
    chosen = {"high": parts[:1], "low": parts[1:], "both": parts}[expert]
    state = pipe.lora_state_dict(load_file(path))
    for part in chosen:
        fitting = _fitting(getattr(pipe, part), state)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # a second LoRA is meant
            pipe.load_lora_weights(fitting, adapter_name=name, load_into_transformer_2=part == "transformer_2")
    return chosen


def _fitting(expert: Any, state: dict[str, Any]) -> dict[str, Any]:
    """The LoRA's tensors whose modules the expert has. LoraError when it was made for another model."""
    modules = dict(expert.named_modules())
    kept = {}
    for key, tensor in state.items():
        module, _, end = key.removeprefix("transformer.").partition(".lora_")
        if module not in modules:
            if any(absent in module for absent in _ABSENT):
                continue
            raise LoraError(f"it was made for another model: there is no {module} here")
        weight = getattr(modules[module], "weight", None)
        if weight is not None and end in ("A.weight", "B.weight"):
            side = 1 if end == "A.weight" else 0
            if tensor.shape[side] != weight.shape[side]:
                raise LoraError(
                    f"it was made for another model: {module} is {tensor.shape[side]} wide, not {weight.shape[side]}"
                )
        kept[key] = tensor
    if not kept:
        raise LoraError("nothing in it fits this model")
    return kept


def _parts(pipe: Any) -> list[str]:
    return [name for name in ("transformer", "transformer_2") if getattr(pipe, name, None) is not None]
