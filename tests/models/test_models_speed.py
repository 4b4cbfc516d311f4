"""Faster without being something else: what is set on a pipeline, and that it can be taken back. Approximations are
test_models_lossy's, compiled blocks test_models_compiled's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_parts import I2V, T2V, TI2V, Render, decoded, request_for
from pipe_parts import CPU, KINDS, latents, tiny_pipe

from models import catalog
from models.acceleration import lossy, tuning
from models.planning.request import Lora, RenderFault
from models.render import warmup
from models.render.renderer import Renderer
from models.weights import tiny

FP8 = "wan2.2-t2v-a14b-fp8-tiny"


def test_attention_is_each_models_own(models_dir: Path) -> None:
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    before = _AttentionBackendRegistry._active_backend
    pipe, other = tiny_pipe(models_dir), tiny_pipe(models_dir)
    tuning.apply(pipe, tuning.Tuning(attention="_native_math"))
    for expert in (pipe.transformer, pipe.transformer_2):
        assert tuning.attention_of(expert) == {"_native_math"}
    assert tuning.attention_of(other.transformer) == {None}
    assert tuning.attention_of(tiny_pipe(models_dir).transformer) == {None}
    assert _AttentionBackendRegistry._active_backend == before
    with pytest.raises(RuntimeError):
        tuning.set_attention(other.transformer, "_flash_3")
    assert _AttentionBackendRegistry._active_backend == before


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_follows_the_processs_default(loaded: Any, kind: str) -> None:
    """A default that cannot compute here: whoever asked for it would raise."""
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    pipe, before = loaded(kind), _AttentionBackendRegistry._active_backend
    _AttentionBackendRegistry.set_active_backend(AttentionBackendName._NATIVE_CUDNN)
    try:
        for expert in lossy.experts_of(pipe).values():
            assert tuning.attention_of(expert) == {"native"}
        assert torch.isfinite(latents(pipe, kind, steps=2)).all()
    finally:
        _AttentionBackendRegistry.set_active_backend(before)


def test_an_operator_who_wishes_for_what_is_not_here_is_told() -> None:
    for backend in ("_flash_3", "sage", "quick"):
        with pytest.raises(RuntimeError, match=backend):
            tuning.plan_for(CPU, wishes=tuning.Wishes(attention=backend))
    assert tuning.plan_for(CPU, "fp32") == tuning.Tuning()
    # diffusers would let cuDNN's be set anywhere
    assert tuning.attends("native", CPU)
    assert not tuning.attends("_native_cudnn", CPU)


def test_fused_projections_are_the_same_and_cost_nothing(models_dir: Path) -> None:
    pipe = tiny_pipe(models_dir)
    plain = latents(pipe, "t2v", steps=2)
    tuning.fuse_qkv(pipe.transformer)
    tuning.fuse_qkv(pipe.transformer_2)
    attention = pipe.transformer.blocks[0].attn1
    assert attention.to_k.weight.untyped_storage().data_ptr() == attention.to_qkv.weight.untyped_storage().data_ptr()
    assert torch.equal(latents(pipe, "t2v", steps=2), plain)
    tuning.unfuse_qkv(pipe.transformer)
    assert not hasattr(attention, "to_qkv")
    assert torch.equal(latents(pipe, "t2v", steps=2), plain)


def test_loras_reach_a_fused_model(render: Render, models_dir: Path, tmp_path: Path) -> None:
    tiny.lora_file(tmp_path / "lora.safetensors", seed=3)
    lora = Lora(path=str(tmp_path / "lora.safetensors"), sha256="0" * 64)
    plain, worn = render(), render(loras=(lora,))
    fused = Renderer(models_dir, "cpu", tuning.Wishes(fuse_qkv="on"))
    for number, (loras, like) in enumerate((((), plain), ((lora,), worn), ((), plain))):
        out = fused.render(request_for(tmp_path / f"fused{number}", loras=loras), lambda _: None, lambda: False)
        assert out.recipe["speed"]["fuse_qkv"]
        assert out.recipe["frames_sha256"] == like.recipe["frames_sha256"]


def test_a_vae_in_bf16_draws_nearly_the_same(render: Render, models_dir: Path, tmp_path: Path) -> None:
    plain = render()
    half = Renderer(models_dir, "cpu", tuning.Wishes(vae="bf16"))
    out = half.render(request_for(tmp_path / "half"), lambda _: None, lambda: False)
    assert out.recipe["precision"]["vae"] == "bfloat16"
    difference = np.abs(decoded(out.video).astype(int) - decoded(plain.video))
    # random weights draw noise of full contrast; what a number format moves is a few of its 255 steps
    assert 0 < difference.mean() < 4


def test_the_8_bit_lane(render: Render, tmp_path: Path) -> None:
    """On a CPU only the weights are in 8 bits: the plumbing of the lane, not its speed."""
    result, plain = render(FP8), render()
    assert result.recipe["lane"] == f"{FP8}@fp8"
    assert result.recipe["speed"]["linears"] == "fp8 weights"
    assert result.recipe["weights"] == plain.recipe["weights"]
    assert result.recipe["frames_sha256"] == render(FP8).recipe["frames_sha256"] != plain.recipe["frames_sha256"]
    tiny.lora_file(tmp_path / "lora.safetensors", seed=3)
    with pytest.raises(RenderFault, match="takes no LoRAs"):
        render(FP8, loras=(Lora(path=str(tmp_path / "lora.safetensors"), sha256="0" * 64),))


def test_only_the_blocks_linears_are_quantised(models_dir: Path) -> None:
    expert = tiny_pipe(models_dir).transformer
    tuning.quantise(expert, "fp8 weights")
    in_8_bits = {name for name, p in expert.named_parameters() if type(p.data).__name__ == "Float8Tensor"}
    assert in_8_bits
    assert all(name.startswith("blocks.") and name.endswith("weight") for name in in_8_bits)
    assert len(in_8_bits) == len(expert.blocks) * 10  # q, k, v, o twice and the feed-forward's two


@pytest.mark.parametrize(
    "shape",
    [
        "wan2.2-i2v-a14b-tiny 64x96x5",
        *(pytest.param(f"{one} 64x64x5", marks=pytest.mark.soak) for one in (T2V, "wan2.2-t2v-a14b-4step-tiny")),
    ],
)
def test_a_shape_is_warmed_before_its_first_job(renderer: Renderer, shape: str) -> None:
    warmup.warm(renderer, shape)
    assert renderer.lane is not None
    assert renderer.lane.startswith(shape.split(maxsplit=1)[0])


def test_each_pipeline_of_a_model_is_warmed(tmp_path: Path) -> None:
    """TI2V-5B given a picture compiles blocks that its text to video has no use for."""
    requests = warmup.requests_of(f"{TI2V} 64x96x5", tmp_path)
    assert [(one.task, list(one.inputs)) for one in requests] == [("t2v", []), ("i2v", ["image"])]
    assert [one.task for one in warmup.requests_of(f"{I2V} 64x96x5", tmp_path / "other")] == ["i2v"]


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ("wan2.2-animate-14b-tiny 64x64x9", "starts from a clip"),
        (f"{T2V} 64x64x10", "4n"),
        ("wan-9 64x64x9", "unknown model"),
        ("480p", "not of the form"),
    ],
)
def test_a_shape_that_cannot_be_warmed(renderer: Renderer, shape: str, says: str) -> None:
    with pytest.raises(catalog.ShapeError, match=says):
        warmup.warm(renderer, shape)
