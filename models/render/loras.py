"""LoRAs: checked before use, fused into the weights of a lane that consists of them, put on and taken off for a job's
own.

Files in the forms that trainers write (Wan's own names, musubi, peft) are recognised by diffusers.
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from models.catalog.model import LoraFile
from models.planning.request import Lora
from models.weights import lora_file
from models.weights.lora_file import EXPERTS, LoraError

__all__ = ["LoraError", "check", "fuse", "put_on", "take_off"]

#: parts that Wan 2.1's image models have and most of 2.2's have not; files made for both carry them
_ABSENT = ("add_k_proj", "add_v_proj", "norm_added_k")


def check(path: Path) -> int:
    """The rank of a LoRA file that looks right. Reads all of it; needs no model.

    Raises LoraError for anything but safetensors of low-rank pairs with finite numbers.
    """
    return lora_file.read(path).rank


def fuse(pipe: Any, folder: Path, files: Iterable[LoraFile]) -> None:
    """Add a lane's own LoRAs to its experts' weights for good: no cost per step, and no way back but loading anew."""
    for file in files:
        _load(pipe, _tensors(folder / f"{file.expert}.safetensors"), file.name, file.expert)
    pipe.fuse_lora(components=_parts(pipe), safe_fusing=True)
    pipe.unload_lora_weights()


def put_on(pipe: Any, loras: tuple[Lora, ...]) -> None:
    """Take off the last job's LoRAs and put these on. The weights underneath are never changed."""
    take_off(pipe)
    put: dict[str, list[tuple[str, float]]] = {part: [] for part in _parts(pipe)}
    for number, lora in enumerate(loras):
        name, path = f"lora{number}", Path(lora.path)
        check(path)
        for part in _load(pipe, _plain(_tensors(path)), name, lora.expert):
            put[part].append((name, lora.scale))
    for part, adapters in put.items():
        if adapters:
            getattr(pipe, part).set_adapters([name for name, _ in adapters], [scale for _, scale in adapters])


def take_off(pipe: Any) -> None:
    """Leave the bare weights, the same to the bit as before."""
    if any(getattr(getattr(pipe, part), "peft_config", None) for part in _parts(pipe)):
        pipe.unload_lora_weights()


def _tensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        # judged good by our own reader, which may be wrong: still the file's fault, not the device's
        raise LoraError("the file cannot be read") from error


def _plain(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of any trainer's file in the one spelling that diffusers converts whole, their alphas multiplied in.
    Its other converters want every module of every block, and fail on files that leave some out."""
    parts = {part: tensors[key] for key, part in lora_file.worn_parts(tensors)}
    made = {}
    for part, tensor in parts.items():
        name = f"diffusion_model.{part.module}"
        if part.kind == "down":
            made[f"{name}.lora_down.weight"] = tensor
        elif part.kind == "bias":
            made[f"{name}.diff_b"] = tensor
        elif part.kind == "up":
            alpha, rank = parts.get(lora_file.LoraTensor(part.module, "alpha")), tensor.shape[1]
            made[f"{name}.lora_up.weight"] = tensor if alpha is None else tensor * (float(alpha) / rank)
    return made


def _load(pipe: Any, tensors: Mapping[str, Any], name: str, expert: str) -> list[str]:
    """Load a file's tensors as an adapter of the experts that it is for; returns their part names."""
    parts = _parts(pipe)
    if expert not in EXPERTS:
        raise LoraError(f"expert {expert!r} is none of {', '.join(EXPERTS)}")
    if expert == "low" and len(parts) == 1:
        raise LoraError("this model has one expert; a LoRA for the low-noise one does not fit")
    chosen = {"high": parts[:1], "low": parts[1:], "both": parts}[expert]
    try:
        state = pipe.lora_state_dict(tensors)
    except (KeyError, ValueError, AttributeError) as error:
        # a file that diffusers cannot sort is the job's fault, not the device's
        raise LoraError(f"its parts cannot be told apart ({type(error).__name__})") from error
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
