"""Another way to compute a Wan block, number for number the same sums: what its profile says is worth trying before it
becomes the farm's own. Three switches: who does what lies between the products, whose attention, and what is kept.

Exact, up to the order of sums: the projections in one product, the feed-forward's GELU in the product's own epilogue,
keys and values of the text kept over the steps, and the first block's self-attention, which has not seen the text yet,
once for both passes of a step.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.gpu import kernels

Attend = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class Form:
    """attention: a name of ATTENTIONS. gelu: in the product. text: keys and values of the text are kept."""

    attention: str
    gelu: bool = True
    text: bool = True


def _flash3(q: Any, k: Any, v: Any) -> Any:
    import fa3_fwd_interface

    return fa3_fwd_interface._flash_attn_forward(q, k, v, softmax_scale=q.shape[-1] ** -0.5)[0]


def _flash3_8bit(q: Any, k: Any, v: Any) -> Any:
    """An approximation: 8-bit numbers, one scale for each head."""
    import fa3_fwd_interface
    import torch

    def rounded(x: Any) -> tuple[Any, Any]:
        most = x.abs().amax(dim=(1, 3)).float().clamp(min=1e-6) / 448
        return (x / most[:, None, :, None].to(x.dtype)).to(torch.float8_e4m3fn), most

    (q8, qs), (k8, ks), (v8, vs) = rounded(q), rounded(k), rounded(v)
    scale = q.shape[-1] ** -0.5
    return fa3_fwd_interface._flash_attn_forward(
        q8, k8, v8, softmax_scale=scale, q_descale=qs, k_descale=ks, v_descale=vs
    )[0]


def _sdpa(backend: str) -> Attend:
    def attend(q: Any, k: Any, v: Any) -> Any:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with sdpa_kernel(getattr(SDPBackend, backend)):
            out = torch.nn.functional.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            )
        return out.transpose(1, 2)

    return attend


#: of (batch, tokens, heads, width) tensors, which need not be contiguous but in the last dimension
ATTENTIONS: dict[str, Attend] = {
    "flash 3": _flash3,
    "cudnn": _sdpa("CUDNN_ATTENTION"),
    "flash 2": _sdpa("FLASH_ATTENTION"),
    "math": _sdpa("MATH"),
    "flash 3 in 8 bits": _flash3_8bit,
}


class Lean:
    """One block's. keep: a dictionary that lives as long as a text does; first: (key, store) of a self-attention that
    both passes share, or None."""

    def __init__(self, block: Any, form: Form) -> None:
        import torch

        self.block, self.form = block, form
        self.attend = ATTENTIONS[form.attention]
        a1 = block.attn1
        self.heads = a1.heads
        with torch.no_grad():
            self.w1 = torch.stack([a1.norm_q.weight, a1.norm_k.weight]).contiguous()
            self.w2 = block.attn2.norm_q.weight[None].contiguous()
            self.mul, self.add = block.norm2.weight.float(), block.norm2.bias.float()
        self.texts: dict[int, tuple[Any, Any, Any]] = {}
        self.shared: tuple[Any, Any] | None = None
        self.key: Callable[[], Any] | None = None

    def __call__(self, hidden: Any, text: Any, temb: Any, rotary: Any) -> Any:
        import torch

        block, a1, a2 = self.block, self.block.attn1, self.block.attn2
        shape = hidden.shape
        x = hidden.reshape(-1, shape[-1])
        parts = (block.scale_shift_table + temb.float()).reshape(6, -1)
        key = self.key() if self.key is not None else None
        if key is not None and self.shared is not None and self.shared[0] is key:
            out = self.shared[1]
        else:
            _, normed = kernels.norm(x, 1 + parts[1], parts[0], block.norm1.eps)
            if a1.fused_projections:
                qkv = a1.to_qkv(normed)
                both = kernels.rms_rope(qkv, self.w1, a1.norm_q.eps, 2, *rotary)
                v = qkv[:, 2 * shape[-1] :]
            else:
                both = torch.cat([
                    kernels.rms_rope(product(normed), self.w1[n : n + 1], a1.norm_q.eps, 1, *rotary)
                    for n, product in enumerate((a1.to_q, a1.to_k))
                ])  # fmt: skip
                v = a1.to_v(normed)
            out = a1.to_out[0](self._attended(both[0], both[1], v, shape[0]))
            self.shared = (key, out) if key is not None else None
        x, normed = kernels.norm(x, self.mul, self.add, block.norm2.eps, out, parts[2])
        q = kernels.rms_rope(a2.to_q(normed), self.w2, a2.norm_q.eps, 1)[0]
        out = a2.to_out[0](self._attended(q, *self._text(text), shape[0]))
        x, normed = kernels.norm(x, 1 + parts[4], parts[3], block.norm3.eps, out)
        up, down = block.ffn.net[0].proj, block.ffn.net[2]
        if self.form.gelu:
            wide = torch._addmm_activation(up.bias, normed, up.weight.t(), use_gelu=True)
        else:
            wide = torch.nn.functional.gelu(up(normed), approximate="tanh")
        return kernels.add(x, down(wide), parts[5]).view(shape)

    def _attended(self, q: Any, k: Any, v: Any, batch: int) -> Any:
        q, k, v = (x.unflatten(1, (self.heads, -1)).unflatten(0, (batch, -1)) for x in (q, k, v))
        return self.attend(q, k, v).reshape(-1, self.heads * q.shape[-1])

    def _text(self, text: Any) -> tuple[Any, Any]:
        import torch

        if self.form.text and (kept := self.texts.get(id(text))) is not None:
            return kept[1], kept[2]
        a2 = self.block.attn2
        flat = text.reshape(-1, text.shape[-1])
        if a2.fused_projections:
            k, v = a2.to_kv(flat).chunk(2, dim=-1)
        else:
            k, v = a2.to_k(flat), a2.to_v(flat)
        k = torch.nn.functional.rms_norm(k, (k.shape[-1],), a2.norm_k.weight, a2.norm_k.eps)
        if self.form.text:
            if len(self.texts) > 3:
                self.texts.clear()
            self.texts[id(text)] = (text, k, v)
        return k, v


def half(rotary: tuple[Any, Any]) -> tuple[Any, Any]:
    """Every angle once, (tokens, 64), of diffusers' tables, in which each stands twice."""
    cos, sin = rotary
    return cos[0, :, 0, 0::2].float().contiguous(), sin[0, :, 0, 1::2].float().contiguous()


@contextmanager
def on(pipe: Any, form: Form, *, share: bool = True) -> Iterator[None]:
    """While this lasts, the pipeline's experts compute so. share: the first block's self-attention, too."""
    undo: list[Callable[[], None]] = []
    for name in ("transformer", "transformer_2"):
        expert = getattr(pipe, name, None)
        if expert is not None:
            undo.append(_put_on(expert, form, share))
    try:
        yield
    finally:
        for back in undo:
            back()


def _put_on(expert: Any, form: Form, share: bool) -> Callable[[], None]:
    embed, rope, seen = expert.condition_embedder.text_embedder, expert.rope, {"latents": None}
    texts: dict[int, tuple[Any, Any]] = {}
    tables: dict[Any, Any] = {}
    own_embed, own_rope = embed.forward, rope.forward

    def embedded(text: Any) -> Any:
        # one object a text, so that what is kept of it is found again
        if id(text) not in texts:
            if len(texts) > 3:
                texts.clear()
            texts[id(text)] = (text, own_embed(text))
        return texts[id(text)][1]

    def angles(latents: Any) -> Any:
        if latents.shape not in tables:
            tables[latents.shape] = half(own_rope(latents))
        return tables[latents.shape]

    def remember(_module: Any, args: Any, kwargs: Any) -> None:
        seen["latents"] = kwargs.get("hidden_states", args[0] if args else None)

    hook = expert.register_forward_pre_hook(remember, with_kwargs=True)
    embed.forward, rope.forward = embedded, angles
    for number, block in enumerate(expert.blocks):
        lean = Lean(block, form)
        if share and number == 0:
            lean.key = lambda: seen["latents"]
        block.forward = lean

    def back() -> None:
        hook.remove()
        for module in (embed, rope, *expert.blocks):
            vars(module).pop("forward", None)

    return back


@contextmanager
def one_time(pipe: Any) -> Iterator[None]:
    """While this lasts, TI2V-5B gets one time for a clip that has one everywhere (text to video), not one per token: the
    same numbers, without six tables of the hidden state's size in every block."""
    expert = pipe.transformer
    forward = expert.forward

    def once(*, timestep: Any, **more: Any) -> Any:
        return forward(timestep=timestep[:, 0] if timestep.ndim == 2 else timestep, **more)

    expert.forward = once
    try:
        yield
    finally:
        vars(expert).pop("forward", None)
