"""LoRAs of the tiny models in training: low-rank differences beside frozen linear layers, saved by the names that Wan's
own trainers write."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.tiny import checkpoint

#: Wan's name of a part of a block -> that of diffusers
_PARTS = {
    f"{kind}_attn.{part}": f"{ours}.{'to_out.0' if part == 'o' else f'to_{part}'}"
    for kind, ours in (("self", "attn1"), ("cross", "attn2"))
    for part in "qkvo"
} | {"ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2"}


class Changed(nn.Module):  # type: ignore[misc]
    """A linear layer that stays as it is, and what is added to it: nothing at first."""

    def __init__(self, base: Any, rank: int) -> None:
        super().__init__()
        self.base = base
        outward, inward = base.weight.shape
        like = {"device": base.weight.device, "dtype": torch.float32}
        self.down = nn.Parameter(torch.randn(rank, inward, **like) * inward**-0.5)
        self.up = nn.Parameter(torch.zeros(outward, rank, **like))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + F.linear(F.linear(x, self.down), self.up)


@dataclass(frozen=True)
class Adapter:
    """What is added to one transformer; `layers` by Wan's names."""

    layers: dict[str, Changed]

    @property
    def parameters(self) -> list[Tensor]:
        return [weight for layer in self.layers.values() for weight in (layer.down, layer.up)]

    def save(self, path: Path) -> None:
        """One file in 16 bits, whole or not at all. Its alpha is its rank: at scale 1 it is as in training."""
        held = {}
        for name, layer in self.layers.items():
            key = f"diffusion_model.{name}"
            held[f"{key}.lora_down.weight"] = layer.down.to(torch.float16)
            held[f"{key}.lora_up.weight"] = layer.up.to(torch.float16)
            held[f"{key}.alpha"] = torch.tensor(float(layer.down.shape[0]), dtype=torch.float16)
        checkpoint.write(held, path)

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Go on from a file of the same rank."""
        from safetensors.torch import load_file

        held = load_file(path)
        for name, layer in self.layers.items():
            layer.down.copy_(held[f"diffusion_model.{name}.lora_down.weight"])
            layer.up.copy_(held[f"diffusion_model.{name}.lora_up.weight"])


def weights(held: dict[str, Adapter]) -> list[Tensor]:
    """What is learned of several adapters."""
    return [weight for adapter in held.values() for weight in adapter.parameters]


def save(held: dict[str, Adapter], folder: Path) -> None:
    """A file for each, by its name."""
    for name, adapter in held.items():
        adapter.save(folder / f"{name}.safetensors")


def load(held: dict[str, Adapter], folder: Path) -> None:
    """What was saved there, if anything."""
    for name, adapter in held.items():
        if (folder / f"{name}.safetensors").is_file():
            adapter.load(folder / f"{name}.safetensors")


@torch.no_grad()
def take(bare: dict[str, Tensor], path: Path) -> None:
    """The weights of a file into those of a transformer, named as before it was adapted."""
    from safetensors.torch import load_file

    for name, weight in load_file(path).items():
        bare[name].copy_(weight)


def put_on(dit: Any, rank: int) -> Adapter:
    """Put an adapter on every linear layer of a frozen transformer's blocks."""
    layers = {}
    for number, block in enumerate(dit.blocks):
        for name, ours in _PARTS.items():
            where, _, last = ours.rpartition(".")
            layer = Changed(block.get_submodule(ours), rank)
            parent = block.get_submodule(where)
            if isinstance(parent, nn.ModuleList):
                parent[int(last)] = layer
            else:
                setattr(parent, last, layer)
            layers[f"blocks.{number}.{name}"] = layer
    return Adapter(layers)


def freeze(dit: Any) -> dict[str, Tensor]:
    """Nothing of it learns any more; on a GPU its blocks' layers are held in 16 bits, which autocast would make of them
    at every call. Returns its weights by name, the same memory."""
    dit.requires_grad_(False)
    for layer in dit.blocks.modules():
        if isinstance(layer, nn.Linear) and layer.weight.device.type == "cuda":
            layer.to(torch.bfloat16)
    return dict(dit.state_dict())
