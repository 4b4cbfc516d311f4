"""The few-step lane is what it was trained as; LoRAs of a job go on and come off without a trace."""

from pathlib import Path
from typing import Any

import pytest
import torch
from model_parts import I2V, T2V, TI2V, Render, draw, request_for
from safetensors.torch import save_file

from models import loras, recipe, tiny, weights
from models.renderer import Renderer
from models.request import Lora, RenderFault

T2V_4STEP = "wan2.2-t2v-a14b-4step-tiny"
I2V_4STEP = "wan2.2-i2v-a14b-4step-tiny"
FOUR: dict[str, Any] = {"steps": 4, "guidance": 1.0, "guidance_2": 1.0, "shift": 5.0}


def lora(path: Path, seed: int = 5, expert: str = "both", scale: float = 1.0) -> Lora:
    path.parent.mkdir(exist_ok=True)
    tiny.lora_file(path, seed)
    return Lora(str(path), weights.sha256_of(path), expert, scale)


@pytest.mark.parametrize("model", [T2V_4STEP, I2V_4STEP])
def test_four_steps_at_the_trained_timesteps_two_for_each_expert(
    renderer: Renderer, render: Render, picture: Path, model: str
) -> None:
    inputs, task = ({"image": str(picture)}, "i2v") if model == I2V_4STEP else ({}, "t2v")
    render(model, task, inputs=inputs, **FOUR)
    loaded = renderer._loaded
    assert loaded is not None
    ran: list[int] = []
    hooks = [
        expert.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
        for number, expert in enumerate(loaded.experts)
    ]
    try:
        made = render(model, task, inputs=inputs, **FOUR).recipe
    finally:
        for hook in hooks:
            hook.remove()
    assert made["scheduler"]["class"] == "FlowMatchEulerDiscreteScheduler"
    assert made["scheduler"]["timesteps"] == [1000.0, 937.5, 833.333, 625.0]
    assert ran == [0, 0, 1, 1]  # one forward a step: no guidance
    assert set(made["fused"]) == {"high", "low"}


def test_the_lanes_loras_are_in_the_frames(render: Render) -> None:
    """The same request, noise and schedule without the LoRAs gives other frames."""
    plain = render(T2V, **FOUR)
    distilled = render(T2V_4STEP, **FOUR)
    assert plain.recipe["frames_sha256"] != distilled.recipe["frames_sha256"]


def test_a_few_step_model_takes_no_other_steps_and_no_guidance(renderer: Renderer, tmp_path: Path) -> None:
    for change, says in (({"steps": 8}, "not 4"), ({"guidance": 3.5}, "guidance")):
        request = request_for(tmp_path, T2V_4STEP, "t2v", **{**FOUR, **change})
        with pytest.raises(RenderFault, match=says):
            renderer.render(request, lambda _: None, lambda: False)


@pytest.mark.parametrize("expert", ["high", "low", "both"])
def test_a_jobs_lora_goes_on_and_comes_off(renderer: Renderer, render: Render, tmp_path: Path, expert: str) -> None:
    bare = render(T2V)
    loaded = renderer._loaded
    worn = render(T2V, loras=(lora(tmp_path / "a.safetensors", expert=expert),))
    assert renderer.lane == f"{T2V}@fp32+{worn.recipe['loras'][0]['sha256'][:16]}:{expert}:1"
    again = render(T2V)
    assert renderer._loaded is loaded  # swapped, not loaded anew
    hashes = [result.recipe["frames_sha256"] for result in (bare, worn, again)]
    assert hashes[0] == hashes[2] != hashes[1]


def test_scale_and_expert_matter(render: Render, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    ways = [lora(path), lora(path, scale=0.5), lora(path, expert="high"), lora(path, expert="low")]
    assert len({render(T2V, loras=(way,)).recipe["frames_sha256"] for way in ways}) == 4


def test_two_loras_at_once_on_a_fused_lane(render: Render, tmp_path: Path) -> None:
    one, two = lora(tmp_path / "a.safetensors", 5), lora(tmp_path / "b.safetensors", 6)
    both = render(T2V_4STEP, loras=(one, two), **FOUR)
    single = render(T2V_4STEP, loras=(one,), **FOUR)
    bare = render(T2V_4STEP, **FOUR)
    assert len({r.recipe["frames_sha256"] for r in (both, single, bare)}) == 3


def test_rerender_finds_the_lora_by_content(
    renderer: Renderer, render: Render, models_dir: Path, tmp_path: Path
) -> None:
    first = render(T2V, loras=(lora(tmp_path / "kept" / "a.safetensors", scale=0.7),))
    again = recipe.rerender(first.recipe, tmp_path / "kept", models_dir, tmp_path / "again", renderer=renderer)
    assert again.recipe["frames_sha256"] == first.recipe["frames_sha256"]


def test_a_lora_that_cannot_be_used_is_the_jobs_fault(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tensors")
    save_file({"x": torch.zeros(2)}, tmp_path / "none")
    save_file({"transformer.blocks.0.attn1.to_q.lora_A.weight": torch.full((2, 24), float("nan"))}, tmp_path / "nan")
    save_file(
        {
            "transformer.blocks.0.attn1.to_q.lora_A.weight": torch.zeros(2, 5120),
            "transformer.blocks.0.attn1.to_q.lora_B.weight": torch.zeros(5120, 2),
        },
        tmp_path / "wide",
    )
    save_file(
        {
            "transformer.blocks.7.attn1.to_q.lora_A.weight": torch.zeros(2, 24),
            "transformer.blocks.7.attn1.to_q.lora_B.weight": torch.zeros(24, 2),
        },
        tmp_path / "deep",
    )
    bare = render(T2V)
    says = {
        "text": "not a safetensors",
        "none": "no LoRA weights",
        "nan": "not finite",
        "wide": "5120 wide, not 24",
        "deep": "no blocks.7",
    }
    for name, expected in says.items():
        request = request_for(tmp_path / "out", loras=(Lora(str(tmp_path / name), name),))
        with pytest.raises(RenderFault, match=expected) as caught:
            renderer.render(request, lambda _: None, lambda: False)
        assert caught.value.code == "invalid_input"
        assert not caught.value.poisoned
    assert render(T2V).recipe["frames_sha256"] == bare.recipe["frames_sha256"]


def test_a_lora_for_the_second_expert_of_one(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    wanted = lora(tmp_path / "a.safetensors", expert="low")
    with pytest.raises(RenderFault, match="one expert"):
        renderer.render(request_for(tmp_path / "out", TI2V, loras=(wanted,)), lambda _: None, lambda: False)


def test_check_tells_the_rank(tmp_path: Path) -> None:
    tiny.lora_file(tmp_path / "a.safetensors", seed=1, rank=7)
    assert loras.check(tmp_path / "a.safetensors") == 7


def test_first_and_last_frame(render: Render, picture: Path, tmp_path: Path) -> None:
    first, last = str(picture), str(draw(tmp_path / "last.png", 100, 100, seed=2))
    both = render(I2V, "flf2v", inputs={"image": first, "last_image": last})
    only = render(I2V, "i2v", inputs={"image": first})
    other = render(I2V, "flf2v", inputs={"image": first, "last_image": first})
    assert len({r.recipe["frames_sha256"] for r in (both, only, other)}) == 3
    assert set(both.recipe["inputs"]) == {"image", "last_image"}
