"""Wan's transformer block written out by hand: the same sums as diffusers' block in another order, with less traffic
between the matrix products and less work.

Norms, rotation and residuals are one pass over memory each (models.acceleration.kernels); query, key and value one
product; GELU the feed-forward product's own epilogue; keys and values of a text are kept over the steps; and the first
block's self-attention, which has not seen the text yet, is computed once for both passes of a step. Nothing is
approximated. It replaces the blocks' forward for one render; what it does not know is left to diffusers (`why_not`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

from models.acceleration.attention import Attend, attend_with

#: the releases of diffusers whose block this is; another one may compute something else
KNOWN_DIFFUSERS = ("0.42.1",)
#: texts whose keys and values are kept: the guided and the unguided one
_TEXTS = 2


@dataclass(frozen=True)
class FusedForm:
    """attention: a name for attend_with. The rest are for measuring: gelu, in the product; text, kept over the steps;
    share, the first self-attention by both passes."""

    attention: str
    gelu: bool = True
    text: bool = True
    share: bool = True


@dataclass(frozen=True)
class Given:
    """Two passes of a step are given the same objects, and nobody has written to them in between."""

    latents: Any
    timestep: Any
    versions: tuple[int | None, int | None]

    def same(self, other: "Given") -> bool:
        """Whether a pass that was given this computes what one that was given the other did, until it sees its text."""
        return self.latents is other.latents and self.timestep is other.timestep and self.versions == other.versions


class Kept:
    """What one expert keeps during a render.

    given   what the pass that is running was given
    first   for what the first block's self-attention was computed, and its output
    """

    def __init__(self, expert: Any, form: FusedForm, everyone: list["Kept"]) -> None:
        """everyone: of the pipeline; when an expert starts, the others are done and give their memory back."""
        self.given: Given | None = None
        self.first: tuple[Given, Any] | None = None
        self.blocks: list[FusedBlock] = []
        self._share, self._everyone = form.share, everyone
        self._own_embed, self._own_rope = expert.condition_embedder.text_embedder.forward, expert.rope.forward
        #: by id: (the text, which so keeps its id; embedded)
        self._embedded: dict[int, tuple[Any, Any]] = {}
        self._angles: dict[Any, tuple[Any, Any]] = {}

    def begin(self, _expert: Any, args: Any, kwargs: Any) -> None:
        """Before a pass of the expert."""
        for other in self._everyone:
            if other is not self:
                other.clear()
        latents = kwargs.get("hidden_states", args[0] if args else None)
        timestep = kwargs.get("timestep", args[1] if len(args) > 1 else None)
        shared = self._share and latents is not None and timestep is not None
        self.given = Given(latents, timestep, (_version(latents), _version(timestep))) if shared else None

    def embedded(self, text: Any) -> Any:
        """One object for a text, so that what the blocks keep of it is found again."""
        if id(text) not in self._embedded:
            if len(self._embedded) >= _TEXTS:
                self._embedded.clear()
            self._embedded[id(text)] = (text, self._own_embed(text))
        return self._embedded[id(text)][1]

    def angles(self, latents: Any) -> tuple[Any, Any]:
        """`half` of the rotation's tables for a clip of this shape."""
        if latents.shape not in self._angles:
            self._angles[latents.shape] = half(self._own_rope(latents))
        return self._angles[latents.shape]

    def clear(self) -> None:
        """Give the memory back."""
        self.given = self.first = None
        self._embedded.clear()
        self._angles.clear()
        for block in self.blocks:
            block.texts.clear()


def why_not(pipe: Any, *, lossy: str | None = None, batched: bool = False) -> str | None:
    """Why a loaded pipeline's blocks cannot be computed so in this render, None when they can."""
    experts = [getattr(pipe, name, None) for name in ("transformer", "transformer_2")]
    of_render = _render_reasons(pipe, lossy, batched)
    return next(chain(of_render, *(_expert_reasons(one) for one in experts if one is not None)), None)


def _render_reasons(pipe: Any, lossy: str | None, batched: bool) -> Iterator[str]:
    import diffusers

    if diffusers.__version__ not in KNOWN_DIFFUSERS:
        yield f"diffusers {diffusers.__version__} is not known"
    if lossy is not None:
        yield f"the approximation {lossy} works inside the blocks"
    if batched:
        yield "both passes are one batch"
    if pipe.config.get("expand_timesteps"):
        yield "every token has a time of its own"


def _expert_reasons(expert: Any) -> Iterator[str]:
    import diffusers
    import torch

    if type(expert) is not diffusers.WanTransformer3DModel:
        yield f"{type(expert).__name__} has other blocks"
        return
    config = expert.config
    if config.added_kv_proj_dim is not None or config.image_dim is not None or not config.cross_attn_norm:
        yield "its blocks look at pictures, or lack a norm"
    if getattr(expert, "peft_config", None):
        yield "LoRAs are on"
    if expert.device.type == "cuda" and expert.dtype != torch.bfloat16:
        yield f"its numbers are {str(expert.dtype).removeprefix('torch.')}"
    if any(_hooked(module) for module in expert.modules()):
        yield "its parts come and go, or are watched"


@contextmanager
def on(pipe: Any, form: FusedForm) -> Iterator[None]:
    """While this lasts, the pipeline's experts compute so. Only where why_not finds nothing."""
    undo: list[Callable[[], None]] = []
    everyone: list[Kept] = []
    try:
        for name in ("transformer", "transformer_2"):
            expert = getattr(pipe, name, None)
            if expert is not None:
                undo.append(_put_on(expert, form, everyone))
        yield
    finally:
        for back in undo:
            back()


class FusedBlock:
    """One block's forward. hidden (1, tokens, d), temb (1, 6, d); rotary: `half` of diffusers' tables.

    kept: of its expert, for the first block; None computes every self-attention.
    """

    def __init__(self, block: Any, form: FusedForm, kept: Kept | None = None) -> None:
        import torch

        self.block, self.form, self.kept = block, form, kept
        self.attend: Attend = attend_with(form.attention)
        own = block.attn1
        self.heads = own.heads
        with torch.no_grad():
            self.own_norms = torch.stack([own.norm_q.weight, own.norm_k.weight]).contiguous()
            self.text_norm = block.attn2.norm_q.weight[None].contiguous()
            self.mul, self.add = block.norm2.weight.float(), block.norm2.bias.float()
        #: id of a text -> (the text, which so keeps its id, keys, values)
        self.texts: dict[int, tuple[Any, Any, Any]] = {}

    def __call__(self, hidden_states: Any, encoder_hidden_states: Any, temb: Any, rotary_emb: Any) -> Any:
        """The block's own forward, of one clip (1, tokens, width). Raises ValueError for any other shape."""
        from models.acceleration import kernels

        block, shape = self.block, hidden_states.shape
        if shape[0] != 1 or tuple(temb.shape[:2]) != (1, 6):
            raise ValueError(f"one clip with one time, not {tuple(shape)} with {tuple(temb.shape)}")
        x = hidden_states.reshape(-1, shape[-1])
        parts = (block.scale_shift_table + temb.float()).reshape(6, -1)
        out = self._self_attention(x, parts, rotary_emb)
        x, normed = kernels.norm(x, self.mul, self.add, eps=block.norm2.eps, a=out, gate=parts[2])
        out = self._text_attention(normed, encoder_hidden_states)
        x, normed = kernels.norm(x, 1 + parts[4], parts[3], eps=block.norm3.eps, a=out)
        return kernels.add(x, self._feed_forward(normed), parts[5]).view(shape)

    def _self_attention(self, x: Any, parts: Any, rotary: Any) -> Any:
        given = self.kept.given if self.kept is not None else None
        if given is not None and self.kept is not None and self.kept.first is not None:
            before, out = self.kept.first
            if before.same(given):
                return out
        own = self.block.attn1
        q, k, v = self._projected(x, parts, rotary)
        out = own.to_out[0](self._attended(q, k, v))
        if given is not None and self.kept is not None:
            self.kept.first = (given, out)
        return out

    def _projected(self, x: Any, parts: Any, rotary: Any) -> tuple[Any, Any, Any]:
        from models.acceleration import kernels

        own, d = self.block.attn1, x.shape[-1]
        _, normed = kernels.norm(x, 1 + parts[1], parts[0], eps=self.block.norm1.eps)
        if own.fused_projections:
            qkv = own.to_qkv(normed)
            q, k = kernels.rms_rope(qkv, self.own_norms, eps=own.norm_q.eps, rotary=rotary)
            return q, k, qkv[:, 2 * d :]
        q, k = (
            kernels.rms_rope(product(normed), self.own_norms[n : n + 1], eps=own.norm_q.eps, rotary=rotary)[0]
            for n, product in enumerate((own.to_q, own.to_k))
        )
        return q, k, own.to_v(normed)

    def _text_attention(self, normed: Any, text: Any) -> Any:
        from models.acceleration import kernels

        attention = self.block.attn2
        q = kernels.rms_rope(attention.to_q(normed), self.text_norm, eps=attention.norm_q.eps)[0]
        return attention.to_out[0](self._attended(q, *self._text(text)))

    def _feed_forward(self, normed: Any) -> Any:
        import torch

        up, down = self.block.ffn.net[0].proj, self.block.ffn.net[2]
        if self.form.gelu and normed.device.type == "cuda":
            return down(torch._addmm_activation(up.bias, normed, up.weight.t(), use_gelu=True))
        return down(torch.nn.functional.gelu(up(normed), approximate="tanh"))

    def _attended(self, q: Any, k: Any, v: Any) -> Any:
        q, k, v = (x.unflatten(1, (self.heads, -1))[None] for x in (q, k, v))
        return self.attend(q, k, v).reshape(-1, self.heads * q.shape[-1])

    def _text(self, text: Any) -> tuple[Any, Any]:
        import torch

        if self.form.text and (found := self.texts.get(id(text))) is not None:
            return found[1], found[2]
        attention = self.block.attn2
        flat = text.reshape(-1, text.shape[-1])
        if attention.fused_projections:
            k, v = attention.to_kv(flat).chunk(2, dim=-1)
        else:
            k, v = attention.to_k(flat), attention.to_v(flat)
        k = torch.nn.functional.rms_norm(k, (k.shape[-1],), attention.norm_k.weight, attention.norm_k.eps)
        if self.form.text:
            if len(self.texts) >= _TEXTS:
                self.texts.clear()
            self.texts[id(text)] = (text, k, v)
        return k, v


def half(rotary: tuple[Any, Any]) -> tuple[Any, Any]:
    """Every angle once, (tokens, width / 2), of diffusers' tables, in which each stands twice."""
    cos, sin = rotary
    return cos[0, :, 0, 0::2].float().contiguous(), sin[0, :, 0, 1::2].float().contiguous()


def error_on(device: Any, attention: str) -> float:
    """Relative difference from diffusers' own block, of a small one with random weights in bf16 on the device."""
    import torch
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed, WanTransformerBlock

    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator).to(device, torch.bfloat16)

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = WanTransformerBlock(256, 512, 2, cross_attn_norm=True).to(device, torch.bfloat16).eval()
        for part in (block.norm1, block.norm2, block.norm3):
            part.float()
        block.scale_shift_table.data = block.scale_shift_table.data.float()
        rotary = WanRotaryPosEmbed(128, (1, 2, 2), 64).to(device)(noise(1, 4, 3, 18, 22))
        hidden, text, temb = noise(1, 297, 256), noise(1, 512, 256), noise(1, 6, 256).float()
        theirs = block(hidden, text, temb, rotary).float()
        ours = FusedBlock(block, FusedForm(attention))(hidden, text, temb, half(rotary)).float()
        return float((ours - theirs).norm() / theirs.norm())


def _put_on(expert: Any, form: FusedForm, everyone: list[Kept]) -> Callable[[], None]:
    """Put the forms over the expert's modules; returns how to take them off and put back what was there."""
    embed, rope, kept = expert.condition_embedder.text_embedder, expert.rope, Kept(expert, form, everyone)
    everyone.append(kept)
    modules = (embed, rope, *expert.blocks)
    covered = [vars(module).get("forward") for module in modules]
    hook = expert.register_forward_pre_hook(kept.begin, with_kwargs=True)
    embed.forward, rope.forward = kept.embedded, kept.angles
    for number, block in enumerate(expert.blocks):
        kept.blocks.append(FusedBlock(block, form, kept if number == 0 else None))
        block.forward = kept.blocks[-1]

    def back() -> None:
        hook.remove()
        for module, forward in zip(modules, covered, strict=True):
            vars(module).pop("forward", None)
            if forward is not None:
                module.forward = forward
        kept.clear()

    return back


def _version(tensor: Any) -> int | None:
    """Grows when a tensor is written to; nobody counts in inference mode."""
    return None if tensor.is_inference() else int(tensor._version)


def _hooked(module: Any) -> bool:
    """Whether diffusers or accelerate changes what the module computes: caches, offloading, casts."""
    registry = getattr(module, "_diffusers_hook", None)
    return hasattr(module, "_hf_hook") or bool(registry is not None and registry.hooks)
