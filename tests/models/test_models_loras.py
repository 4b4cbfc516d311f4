"""The few-step lane is what it was trained as; LoRAs of a job go on and come off without a trace."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from model_parts import I2V, T2V, TI2V, Render, draw, request_for
from safetensors.torch import load_file, save_file

from models import catalog
from models.planning.request import Lora, RenderFault
from models.provenance import recipe
from models.render import loading, loras
from models.render.renderer import Renderer
from models.render.rerender import rerender
from models.weights import lora_file, tiny
from models.weights.digest import sha256_of

T2V_4STEP = "wan2.2-t2v-a14b-4step-tiny"
I2V_4STEP = "wan2.2-i2v-a14b-4step-tiny"
FOUR: dict[str, Any] = {"steps": 4, "guidance": 1.0, "guidance_2": 1.0, "shift": 5.0}


def _peft(key: str) -> str:
    for ours, theirs in (
        ("self_attn", "attn1"),
        ("cross_attn", "attn2"),
        ("lora_down", "lora_A"),
        ("lora_up", "lora_B"),
    ):
        key = key.replace(ours, theirs)
    key = key.replace("text_embedding.2", "condition_embedder.text_embedder.linear_2")
    key = re.sub(r"\.([qkv])\.", r".to_\1.", key).replace(".o.", ".to_out.0.")
    return (
        key.replace("diffusion_model.", "transformer.").replace("ffn.0", "ffn.net.0.proj").replace("ffn.2", "ffn.net.2")
    )


def _musubi(key: str) -> str:
    if "text_embedding" in key:  # musubi trains blocks alone
        return key
    module, end = re.fullmatch(r"diffusion_model\.(.+?)\.(lora_\w+\.weight|alpha)", key).groups()  # type: ignore[union-attr]
    return f"lora_unet_{module.replace('.', '_')}.{end}"


QUERY, ENDS = "diffusion_model.blocks.0.self_attn.q", ("lora_down.weight", "lora_up.weight", "alpha")
SPELLINGS: dict[str, Callable[[str], str]] = {
    "wan": lambda key: key,
    "bare": lambda key: re.sub("lora_(down|up)", lambda m: f"lora_{'AB'[m[1] == 'up']}.default", key).removeprefix(
        "diffusion_model."
    ),
    "musubi": _musubi,
    "peft": _peft,
}


def lora(path: Path, seed: int = 5, expert: str = "both", scale: float = 1.0) -> Lora:
    path.parent.mkdir(exist_ok=True)
    tiny.lora_file(path, seed)
    return Lora(str(path), sha256_of(path), expert, scale)


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


def test_every_trainers_spelling_makes_the_same_frames(render: Render, tmp_path: Path) -> None:
    """Also of files that leave modules out, which diffusers' own converters do not all take."""
    bare = render(T2V)
    tiny.lora_file(tmp_path / "wan.safetensors", seed=5)
    named = load_file(tmp_path / "wan.safetensors")
    some = {key: tensor for key, tensor in named.items() if ".1." in key and "_attn" in key}
    # a part that is in no block
    some |= {f"diffusion_model.text_embedding.2.{end}": named[f"{QUERY}.{end}"] for end in ENDS}
    made = {}
    for spelling, respell in SPELLINGS.items():
        path = tmp_path / f"{spelling}.safetensors"
        # peft files carry no alpha: it is their rank then
        save_file({respell(key): t for key, t in some.items() if spelling != "peft" or "alpha" not in key}, path)
        made[spelling] = render(T2V, loras=(Lora(str(path), "ab" * 32),)).recipe["frames_sha256"]
    assert len(set(made.values())) == 1, made
    assert set(made.values()) != {bare.recipe["frames_sha256"]}


def test_alpha_and_scale_are_both_strengths(render: Render, tmp_path: Path) -> None:
    tiny.lora_file(tmp_path / "whole", seed=5)
    tensors = load_file(tmp_path / "whole")
    save_file({key: t / 2 if key.endswith("alpha") else t for key, t in tensors.items()}, tmp_path / "half")
    by_alpha = render(T2V, loras=(Lora(str(tmp_path / "half"), "1" * 64),))
    by_scale = render(T2V, loras=(Lora(str(tmp_path / "whole"), "2" * 64, scale=0.5),))
    whole = render(T2V, loras=(Lora(str(tmp_path / "whole"), "2" * 64),))
    hashes = [result.recipe["frames_sha256"] for result in (by_alpha, by_scale, whole)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_lane_tells_every_digit_of_a_strength() -> None:
    names = {Lora("x", "ab" * 32, scale=scale).name.rpartition(":")[2] for scale in (1.0, 0.8, 0.12345678, 0.12345679)}
    assert names == {"1", "0.8", "0.12345678", "0.12345679"}


def test_models_that_wear_none_say_so(renderer: Renderer, tmp_path: Path) -> None:
    for model, task, says in (
        ("wan2.2-t2v-a14b-fp8-tiny", "t2v", "8 bits; wan2.2-t2v-a14b-tiny does"),
        ("wan2.2-animate-2-14b-tiny", "animate", "not named"),
    ):
        inputs = {"image": "x", "video": "x"} if task == "animate" else {}
        request = request_for(tmp_path, model, task, inputs=inputs, loras=(lora(tmp_path / "a.safetensors"),))
        request = replace(request, guidance_2=3.0 if task == "t2v" else None)
        with pytest.raises(RenderFault, match=says):
            renderer.render(request, lambda _: None, lambda: False)


def test_rerender_finds_the_lora_by_content(
    renderer: Renderer, render: Render, models_dir: Path, tmp_path: Path
) -> None:
    first = render(T2V, loras=(lora(tmp_path / "kept" / "a.safetensors", scale=0.7),))
    again = rerender(first.recipe, tmp_path / "kept", models_dir, tmp_path / "again", renderer=renderer)
    assert again.recipe["frames_sha256"] == first.recipe["frames_sha256"]
    with pytest.raises(recipe.RecipeError, match=r"the LoRA ink \(sha256 .* not among the files given"):
        rerender(
            {**first.recipe, "loras": [{**first.recipe["loras"][0], "name": "ink"}]}, None, models_dir, tmp_path / "no"
        )


def test_a_lora_that_cannot_be_used_is_the_jobs_fault(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tensors")
    save_file({"blocks.0.norm3.diff": torch.zeros(2)}, tmp_path / "none")
    save_file(
        {
            "transformer.blocks.0.attn1.to_q.lora_A.weight": torch.full((2, 96), float("nan")),
            "transformer.blocks.0.attn1.to_q.lora_B.weight": torch.zeros(96, 2),
        },
        tmp_path / "nan",
    )
    save_file(
        {
            "transformer.blocks.0.attn1.to_q.lora_A.weight": torch.zeros(2, 5120),
            "transformer.blocks.0.attn1.to_q.lora_B.weight": torch.zeros(5120, 2),
        },
        tmp_path / "wide",
    )
    save_file(
        {
            "transformer.blocks.7.attn1.to_q.lora_A.weight": torch.zeros(2, 96),
            "transformer.blocks.7.attn1.to_q.lora_B.weight": torch.zeros(96, 2),
        },
        tmp_path / "deep",
    )
    bare = render(T2V)
    says = {
        "text": "not a safetensors",
        "none": "no LoRA weights",
        "nan": "not finite",
        "wide": "5120 wide, not 96",
        "deep": "none here has 8 blocks",
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


@pytest.mark.parametrize("model", ["wan2.2-vace-fun-a14b-tiny", "wan2.2-animate-14b-tiny"])
def test_what_fits_by_its_bytes_can_be_worn(models_dir: Path, tmp_path: Path, model: str) -> None:
    """The other tests wear them in renders; these models' are long."""
    # of two layers: vace has three, animate two
    tiny.lora_file(tmp_path / "a.safetensors", 5, model_id="wan2.2-animate-14b-tiny")
    worn = Lora(str(tmp_path / "a.safetensors"), "ab" * 32)
    assert model in lora_file.read(Path(worn.path)).fits
    entry = catalog.get(model)
    task = next(iter(entry.tasks))
    loaded = loading.load(entry, models_dir, torch.device("cpu"), task)
    pipe = loaded.pipe_for(task)
    before = {name: tensor.clone() for name, tensor in pipe.transformer.state_dict().items()}
    loras.put_on(pipe, (worn,))
    experts = [pipe.transformer, *([pipe.transformer_2] if entry.experts == 2 else [])]
    assert all(expert.peft_config for expert in experts)
    loras.take_off(pipe)
    after = pipe.transformer.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
