"""The guided and the unguided pass of a step as one batch of two, where that wins. Pipelines call their transformer
twice with the same latents and another text; here the first call does both, the second is answered with what it left.

Whether it may and should is pure; the sums are the same, but a batch adds them up in another order.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from models.catalog.model import Model
from models.catalog.options import kind_of
from models.catalog.shape import forward_tflop

#: TFLOP of one block in one pass, above which one pass fills a GPU and two at once only take memory. On an H200
#: TI2V-5B's in one batch won 13 % at 0.58 and 1 % at 0.97 with diffusers' blocks (bench/gpu/README.md)
MOST_WORK = 0.6
#: the same where fused blocks compute the passes one by one: one batch with diffusers' blocks won 27 % at 0.26 and
#: lost 44 % at 0.58
MOST_WORK_FUSED = 0.3
#: the kinds of pipeline whose two calls differ in nothing but the text
_KINDS = frozenset({"t2v", "i2v", "ti2v-t2v", "ti2v-i2v"})


def fits(model: Model, task: str, guidance: float, lossy: str | None) -> bool:
    """Whether both passes can go together: there are two, and nothing that keeps them apart (an approximation does)."""
    return guidance > 1 and lossy is None and kind_of(model, task) in _KINDS


def wins(wish: str, device_type: str, work: float, *, fused: bool) -> bool:
    """Whether they should. wish: "auto" (on a GPU, for forwards so small that one does not fill it), "on" or "off";
    work: block_work of the render; fused: whether fused blocks would compute the passes one by one."""
    most = MOST_WORK_FUSED if fused else MOST_WORK
    return wish == "on" or (wish == "auto" and device_type == "cuda" and work <= most)


def block_work(model: Model, width: int, height: int, frames: int) -> float:
    """TFLOP of one block in one pass. What a GPU waits for between blocks is the same for every model."""
    return forward_tflop(model, width, height, frames) / model.dit.layers


@contextmanager
def together(pipe: Any, negative: Any) -> Iterator[None]:
    """While this lasts, the pipeline's two passes are one. negative: the unguided one's text, as pipelines get it."""
    experts = (getattr(pipe, "transformer", None), getattr(pipe, "transformer_2", None))
    undo = [_paired(expert, negative) for expert in experts if expert is not None]
    try:
        yield
    finally:
        for back in undo:
            back()


def _paired(expert: Any, negative: Any) -> Callable[[], None]:
    """Put the pairing around whatever the expert's forward is by now; returns how to take it off."""
    import torch

    own = "forward" in vars(expert)
    forward = expert.forward
    left: tuple[Any, Any] | None = None

    def pair(
        *, hidden_states: Any, timestep: Any, encoder_hidden_states: Any, return_dict: bool = False, **more: Any
    ) -> Any:
        nonlocal left
        if left is not None and left[0] is hidden_states:
            unguided, left = left[1], None
            return (unguided,)
        both = forward(
            hidden_states=torch.cat([hidden_states, hidden_states]),
            timestep=torch.cat([timestep, timestep]),
            encoder_hidden_states=torch.cat([encoder_hidden_states, negative.to(encoder_hidden_states)]),
            return_dict=return_dict,
            **more,
        )[0]
        guided, unguided = both.chunk(2)
        left = (hidden_states, unguided)
        return (guided,)

    def back() -> None:
        if own:
            expert.forward = forward
        else:
            del expert.forward

    expert.forward = pair
    return back
