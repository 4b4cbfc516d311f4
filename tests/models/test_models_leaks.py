"""A render that ends badly leaves nothing of itself in the next one, and is tried again in the way that was said."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from model_parts import FRAMES, SIDE, T2V, Render, request_for
from safetensors.torch import load_file, save_file

from models import catalog
from models.acceleration import memory
from models.acceleration.memory import MemoryLimits
from models.planning.plan import Burden, MemoryPlan, Where, needs
from models.planning.request import Lora, RenderFault
from models.render import loading
from models.render.renderer import Renderer
from models.weights import tiny
from models.weights.digest import sha256_of


def worn(path: Path) -> Lora:
    return Lora(str(path), sha256_of(path))


def test_of_loras_of_which_one_does_not_fit_none_stays_on(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    """The first is on when the second turns out to be another model's: the next tenant's job must not wear it."""
    before = render()
    good, other = tmp_path / "good.safetensors", tmp_path / "other.safetensors"
    tiny.lora_file(good, 5)
    save_file({key.replace("blocks.", "blocks.7"): tensor for key, tensor in load_file(good).items()}, other)
    request = request_for(tmp_path / "bad", loras=(worn(good), worn(other)))
    with pytest.raises(RenderFault, match="made for another model") as caught:
        renderer.render(request, lambda _: None, lambda: False)
    assert caught.value.code == "invalid_input"
    assert render().recipe["frames_sha256"] == before.recipe["frames_sha256"]


@pytest.mark.parametrize("first", [Where.RESIDENT, Where.TEXT_VISITS])
def test_memory_that_ends_while_loading_is_tried_with_the_next_smaller_plan(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Where
) -> None:
    """Not with the next after the roomiest: that may be the plan that has just failed."""
    enough = needs(Burden(catalog.get(T2V), SIDE, SIDE, FRAMES), MemoryPlan(first)).device_bytes / 0.94 * 1.0001
    tight = Renderer(models_dir, "cpu", limits=MemoryLimits(enough))
    tried: list[Where] = []
    left: list[Any] = []
    place = memory.place

    def full(pipe: Any, plan: MemoryPlan, device: Any) -> None:
        tried.append(plan.where)
        left.append(weakref.ref(pipe.transformer))
        if len(tried) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        place(pipe, plan, device)

    monkeypatch.setattr(memory, "place", full)
    made = tight.render(request_for(tmp_path / "o"), lambda _: None, lambda: False)
    order = list(Where)
    assert tried == [first, order[order.index(first) + 1]]
    assert made.recipe["plan"] == tried[1]
    assert left[0]() is None, "what was half loaded has gone"


def test_memory_is_free_before_it_is_tried_again(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception's trace holds the pipeline and all its tensors: as long as it lives, nothing was given back."""
    tight = Renderer(models_dir, "cpu")
    first: list[Any] = []
    seen_again: list[bool] = []
    load = loading.load

    def loaded(*args: Any, **kwargs: Any) -> Any:
        seen_again.extend(ref() is not None for ref in first)
        return load(*args, **kwargs)

    def full(module: torch.nn.Module, _args: Any) -> None:
        if type(module).__name__ == "WanTransformer3DModel" and not first:
            first.append(weakref.ref(module))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(loading, "load", loaded)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(full)
    try:
        tight.render(request_for(tmp_path / "o"), lambda _: None, lambda: False)
    finally:
        hook.remove()
    assert seen_again == [False]
