"""Trains the transformers: to see the noise in latents of random clips, of which few or more words are said."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.tiny import whole, words, world
from tools.tiny.outlines import Outlines
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
        mean, std = (
            torch.tensor(values, device=self.device).view(1, -1, 1, 1, 1)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        self._scaling = (mean, std)
        self.filled.zero_()

    def keep(self, path: Path) -> None:
        """Write the clips that there are, for whoever goes on: to encode them takes longer than many steps."""
        from safetensors.torch import save_file

        held = {"latents": self.latents, "named": self.named, "both_ends": self.both_ends, "at": self._at}
        if self.conditions is not None:
            held["conditions"] = self.conditions
        filled = int(self.filled)
        draft = path.with_suffix(".draft")
        kept = {name: (part if name == "at" else part[:filled]).contiguous() for name, part in held.items()}
        save_file(kept, draft)
        draft.replace(path)

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
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda", cache_enabled=False):
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


#: scenes in every shape that are drawn before the first step
_OUTLINES = 160


class Denoising:
    """A transformer at its noise levels, on a batch of the bank."""

    def __init__(
        self, dit: Any, expert: Expert, bank: Bank, table: Tensor, *, batch: int, stills: bool = False
    ) -> None:
        self.dit, self._expert, self._bank, self._batch = dit, expert, bank, batch
        #: one latent picture of each clip, of any moment: five times as many clips for the same work
        self._stills = stills
        self._outlines = Outlines(bank.device) if stills else None
        self._means: Tensor | None = None
        self._calls = 0
        self._table = table.to(bank.device)
        dit.set_attn_processor(ShortText())

    @property
    def parameters(self) -> list[Tensor]:
        return list(self.dit.parameters())

    def feed(self) -> None:
        self._bank.refresh()
        if self._outlines is not None and self._bank.vae is not None:
            # many before the first step, so that none is learned by heart
            for _ in range(2 if self._outlines.count else _OUTLINES):
                self._outlines.refresh(self._bank.vae)

    def loss(self) -> Tensor:
        bank, device = self._bank, self._bank.device
        rows = (torch.rand(self._batch, device=device) * bank.filled).long()
        clean = bank.latents[rows].float()
        weight = self._weight(clean, bank.named[rows, 3])
        if self._stills:
            moments = torch.randint(0, clean.shape[2], (self._batch, 1, 1, 1, 1), device=device)
            clean = clean.gather(2, moments.expand(-1, clean.shape[1], 1, *clean.shape[3:]))
            weight = weight.gather(2, moments.expand(-1, 1, 1, *clean.shape[3:]))
        named, under, noise = bank.named[rows], clean, torch.randn_like(clean)
        level = self._levels().view(-1, 1, 1, 1, 1)
        said = self._said()
        if self._outlines is not None and self._outlines.count:
            scenes = 3 * self._batch // 4 // len(world.SHAPES)
            share = scenes * len(world.SHAPES)
            ours = self._outlines.some(scenes)
            # the shapes of a scene have one noise: what is left that differs is the shape
            alike = torch.arange(share, device=device) // len(world.SHAPES)
            named, clean, under, weight = (
                torch.cat([ours[k], old[share:]]) for k, old in enumerate((named, clean, under, weight))
            )
            noise = torch.cat([noise[alike], noise[share:]])
            # where a thing can be made out, and its outline is not yet decided
            first, last = max(0.45, self._expert.noise[0]), min(0.97, self._expert.noise[1])
            of_ours = torch.rand(scenes, 1, 1, 1, 1, device=device) * (last - first) + first
            level = torch.cat([of_ours[alike], level[share:]])
            said = torch.cat([torch.ones_like(said[:share]), said[share:]])
        text = self._table[words.row(named, said)]
        noisy = level * noise + (1 - level) * under
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False):
            if self._expert.kind == "ti2v":
                return self._with_first_picture(noisy, clean, noise, level, text)
            if bank.conditions is not None:
                shown = bank.conditions[rows].float()
                noisy = torch.cat([noisy, picture_mask(bank.both_ends[rows], shown), shown], 1)
            seen = self.dit(noisy, level.flatten() * 1000, text, return_dict=False)[0]
        return ((seen.float() - (noise - clean)).square() * weight).mean()

    def _weight(self, clean: Tensor, scene: Tensor) -> Tensor:
        """(B, 1, T, H, W), 1 in the mean: more where a clip differs from the mean of its scene's, which is where the
        thing is. A few pixels tell a square from a circle: evenly weighed, the background drowns them."""
        bank = self._bank
        if self._means is None or self._calls % 64 == 0:
            filled = max(1, int(bank.filled))
            known, scenes = bank.latents[:filled].float(), bank.named[:filled, 3]
            here = [known[scenes == number] for number in range(len(world.SCENES))]
            self._means = torch.stack([clips.mean(0) if len(clips) else known.mean(0) for clips in here])
        self._calls += 1
        far = (clean - self._means[scene]).square().mean(1, keepdim=True)
        far = F.avg_pool3d(far, (1, 3, 3), stride=1, padding=(0, 1, 1), count_include_pad=False)
        weight = 0.4 + (far / far.mean((1, 3, 4), keepdim=True)).clamp(max=4.0)
        return weight / weight.mean((1, 2, 3, 4), keepdim=True)

    def _with_first_picture(self, noisy: Tensor, clean: Tensor, noise: Tensor, level: Tensor, text: Tensor) -> Tensor:
        """Half of the clips have their first picture clean, as the 5B's pipeline gives it: its tokens are at time 0."""
        count, _, frames, height, width = clean.shape
        free = torch.ones(count, 1, frames, 1, 1, device=clean.device)
        free[:, :, 0] = (torch.rand(count, device=clean.device) < 0.5).float().view(-1, 1, 1, 1)
        given = free * noisy + (1 - free) * clean
        times = (free * level * 1000).expand(-1, -1, -1, height // 2, width // 2).flatten(1)
        seen = self.dit(given, times, text, return_dict=False)[0]
        return ((seen.float() - (noise - clean)).square() * free).mean()

    def _said(self) -> Tensor:
        """Which words are said: in one clip of eight none, of the others each with a chance of nine in ten."""
        device = self._bank.device
        some = torch.rand(self._batch, 1, device=device) > 0.125
        return some & (torch.rand(self._batch, 4, device=device) > 0.1)

    def _levels(self) -> Tensor:
        """Noise levels between the expert's ends, shifted to the noisier ones."""
        low, high = self._expert.noise
        shift = self._expert.shift
        # the levels are shift * u / (1 + (shift - 1) * u) of an even u; these are the u of the ends
        first, last = (end / (shift - (shift - 1) * end) for end in (low, high))
        even = torch.rand(self._batch, device=self._bank.device) * (last - first) + first
        return shift * even / (1 + (shift - 1) * even)
