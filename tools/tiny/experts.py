"""Trains the transformers: to see the noise in latents of random clips, of which few or more words are said."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.tiny import checkpoint, whole, words, world
from tools.tiny.noise import precision
from tools.tiny.sizes import DITS, FRAMES, SIDES


@dataclass(frozen=True)
class Expert:
    """What one transformer learns.

    noise   levels between which it works, of 0 to 1
    shift   of the levels it sees
    start   the one whose weights it begins with, where that was trained
    """

    name: str
    kind: str
    vae: str
    noise: tuple[float, float]
    shift: float
    start: str = ""


#: boundaries and kinds as the catalog has them; the shift is milder than a large picture's. The stems, which learn all
#: noise levels, are for a CPU, where models are trained in turn: what a shape and a scene are is then learned once
EXPERTS = {
    expert.name: expert
    for expert in (
        Expert("t2v-stem", "t2v", "vae21", (0.0, 1.0), 6.0),
        Expert("t2v-high", "t2v", "vae21", (0.875, 1.0), 5.0, start="t2v-stem"),
        Expert("t2v-low", "t2v", "vae21", (0.0, 0.875), 3.0, start="t2v-stem"),
        Expert("i2v-stem", "i2v", "vae21", (0.0, 1.0), 4.0, start="t2v-stem"),
        Expert("i2v-high", "i2v", "vae21", (0.9, 1.0), 5.0, start="i2v-stem"),
        Expert("i2v-low", "i2v", "vae21", (0.0, 0.9), 3.0, start="i2v-stem"),
        Expert("ti2v", "ti2v", "vae22", (0.0, 1.0), 4.0),
    )
}


def make(name: str) -> Any:
    """An untrained transformer, which predicts nothing yet."""
    from diffusers import WanTransformer3DModel

    dit = WanTransformer3DModel(**DITS[EXPERTS[name].kind])
    torch.nn.init.zeros_(dit.proj_out.weight)
    torch.nn.init.zeros_(dit.proj_out.bias)
    hear_words(dit)
    return dit


@torch.no_grad()
def hear_words(dit: Any, sharp: float = 2.0, aside: float = 0.3) -> None:
    """Make every layer look at a caption's words and away from the hundreds of empty tokens after them.

    With even first weights the empty ones draw nine tenths of all attention, and a word half a percent: a colour is
    learned from that, since it changes a whole picture, an outline is not (after 3,600 steps: 5 of 20 shapes right).
    """
    embed = dit.condition_embedder.text_embedder
    said = words.table()[:-1, 0]
    empty = embed(torch.zeros(1, said.shape[1]))[0]
    for block in dit.blocks:
        attn = block.attn2
        away = torch.randn(attn.to_k.bias.shape)
        keys = attn.to_k(embed(said)) - attn.to_k(empty)
        attn.to_k.bias.sub_(attn.to_k(empty) + away * aside * keys.square().mean().sqrt())
        attn.to_q.bias.add_(away * attn.to_q.weight.square().sum(1).mean().sqrt())
        attn.norm_q.weight.fill_(sharp**0.5)
        attn.norm_k.weight.fill_(sharp**0.5)


@torch.no_grad()
def begin_with(dit: Any, other: dict[str, Tensor]) -> None:
    """Take over another one's weights. Channels that only this one is shown count for nothing at first."""
    for name, weight in dit.state_dict().items():
        taken = other[name]
        weight.zero_()
        weight[tuple(slice(size) for size in taken.shape)].copy_(taken)


class ShortText:
    """Attention that reads a caption's few tokens as if they were followed by the hundreds of empty ones that the
    pipelines add: those are all alike, so that one of them, weighted by their number, does for all."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        text = encoder_hidden_states
        source = hidden_states if text is None else text
        query, key = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(attn.to_k(source))
        query, key = (part.unflatten(2, (attn.heads, -1)) for part in (query, key))
        value = attn.to_v(source).unflatten(2, (attn.heads, -1))
        if rotary_emb is not None:
            query, key = _turned(query, *rotary_emb), _turned(key, *rotary_emb)
        query, key, value = (part.to(value.dtype).transpose(1, 2) for part in (query, key, value))
        if text is None:
            out = F.scaled_dot_product_attention(query, key, value)
        else:
            scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + attention_mask_of(query, text.shape[1])
            out = scores.float().softmax(-1).to(value.dtype) @ value
        return attn.to_out[0](out.transpose(1, 2).flatten(2))


def attention_mask_of(like: Tensor, tokens: int) -> Tensor:
    """(tokens,) zeros, and for the last token the logarithm of how many it stands for."""
    last = torch.arange(tokens, device=like.device) == tokens - 1
    return last.to(like.dtype) * math.log(words.PADDED - tokens + 1)


def _turned(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, for pairs of neighbours."""
    first, second = states[..., 0::2], states[..., 1::2]
    cos, sin = cos[..., 0::2], sin[..., 1::2]
    return torch.stack([first * cos - second * sin, first * sin + second * cos], -1).flatten(-2).to(states.dtype)


class Bank:
    """Latents of random clips on the device, some of which are drawn anew with every `refresh`: an endless supply."""

    def __init__(self, kind: str, vae_kind: str, device: Any, *, size: int, piece: int) -> None:
        self.kind, self._vae_kind, self.device, self._piece = kind, vae_kind, device, piece
        self.vae: Any = None
        shape = (size, DITS[kind]["out_channels"], 5, 16, 16)
        self.latents = torch.randn(shape, device=device, dtype=torch.bfloat16)
        self.named = torch.zeros(size, 4, dtype=torch.long, device=device)
        self.conditions = torch.zeros_like(self.latents) if kind == "i2v" else None
        self.both_ends = torch.zeros(size, dtype=torch.bool, device=device)
        self._at = torch.zeros(1, dtype=torch.long, device=device)
        #: how many rows hold a clip by now
        self.filled = torch.full((1,), size, dtype=torch.long, device=device)

    def serve(self, vae: Any) -> None:
        """Begin to fill it with the latents of this VAE."""
        self.vae = vae.to(self.device).eval().requires_grad_(False)
        self._scaling = whole.scaling(vae, self.device)
        self.filled.zero_()

    def keep(self, path: Path) -> None:
        """Write the clips that there are, for whoever goes on: to encode them takes longer than many steps."""
        held = {"latents": self.latents, "named": self.named, "both_ends": self.both_ends, "at": self._at}
        if self.conditions is not None:
            held["conditions"] = self.conditions
        filled = int(self.filled)
        checkpoint.write({name: part if name == "at" else part[:filled] for name, part in held.items()}, path)

    def take(self, path: Path) -> None:
        """The clips that were kept, as far as there are any."""
        from safetensors.torch import load_file

        if not path.is_file():
            return
        kept = load_file(path, device=str(self.device))
        filled = kept["latents"].shape[0]
        for name in ("latents", "named", "both_ends", *(["conditions"] if self.conditions is not None else [])):
            getattr(self, name)[:filled] = kept[name]
        self._at.copy_(kept["at"])
        self.filled.fill_(filled)

    @torch.no_grad()
    def refresh(self) -> None:
        """Replace the oldest piece. Does nothing before there is a VAE."""
        if self.vae is None:
            return
        side = SIDES[self._vae_kind]
        scenes = world.some(self._piece, self.device)
        clips = world.draw(scenes, FRAMES, side, side)
        rows = (self._at + torch.arange(self._piece, device=self.device)) % self.latents.shape[0]
        self.latents.index_copy_(0, rows, self._encoded(clips))
        self.named.index_copy_(0, rows, scenes.named)
        if self.conditions is not None:
            ends = torch.rand(self._piece, device=self.device) < 0.3
            self.conditions.index_copy_(0, rows, self._encoded(only_ends(clips, ends)))
            self.both_ends.index_copy_(0, rows, ends)
        self._at.add_(self._piece)
        self.filled.copy_(self._at.clamp(max=self.latents.shape[0]))

    def _encoded(self, clips: Tensor) -> Tensor:
        with precision(self.device):
            latents = whole.encode(self.vae, clips)[0]
        mean, std = self._scaling
        return ((latents.float() - mean) / std).to(torch.bfloat16)


def only_ends(clips: Tensor, both: Tensor) -> Tensor:
    """The clips with grey in place of all but the first picture and, where `both`, the last."""
    middle = torch.zeros_like(clips[:, :, 1:-1])
    return torch.cat([clips[:, :, :1], middle, clips[:, :, -1:] * both.view(-1, 1, 1, 1, 1)], 2)


def picture_mask(both: Tensor, like: Tensor) -> Tensor:
    """(B, 4, T, H, W): which pictures an i2v is shown, four to a latent, the first counted four times."""
    mask = torch.zeros(like.shape[0], 4, *like.shape[2:], device=like.device, dtype=like.dtype)
    mask[:, :, 0] = 1
    mask[:, 3, -1] = both.to(like.dtype).view(-1, 1, 1)
    return mask
