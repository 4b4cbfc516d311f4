"""Blocks and a VAE that are computed by hand: the same frames to rounding, and only where they are known to be right.
A CPU computes in torch what a GPU computes in Triton kernels."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from model_parts import I2V, T2V, TI2V, decoded, draw, request_for
from pipe_parts import CPU, KINDS, latents, tiny_pipe

from models import catalog
from models.acceleration import attention, fused_blocks, fused_vae, guidance, kernels, lossy, tuning
from models.acceleration.fused_blocks import FusedForm
from models.acceleration.guidance import together
from models.acceleration.memory import place
from models.planning.plan import MemoryPlan, Where
from models.planning.request import Lora
from models.render import loading, warmup
from models.render.renderer import Renderer
from models.weights import tiny

ON = tuning.Wishes(fused="on")
FORM = FusedForm("native")


@pytest.mark.parametrize(
    ("kind", "guidance_scale", "fused_projections"),
    [("t2v", 4.0, True), ("i2v", 4.0, False), ("t2v", 1.0, False), ("ti2v-t2v", 4.0, False)],
)
def test_the_same_latents_to_rounding(loaded: Any, kind: str, guidance_scale: float, fused_projections: bool) -> None:
    pipe = loaded(kind)
    plain = latents(pipe, kind, guidance=guidance_scale, steps=4)
    assert fused_blocks.why_not(pipe) is None
    experts = list(lossy.experts_of(pipe).values())
    if fused_projections:
        for expert in experts:
            tuning.fuse_qkv(expert)
    try:
        with fused_blocks.on(pipe, FORM):
            ours = latents(pipe, kind, guidance=guidance_scale, steps=4)
    finally:
        if fused_projections:
            for expert in experts:
                tuning.unfuse_qkv(expert)
    assert _error(ours, plain) < 1e-4
    assert torch.equal(latents(pipe, kind, guidance=guidance_scale, steps=4), plain)


@pytest.mark.parametrize(
    "form", [FusedForm("native", gelu=False), FusedForm("native", text=False), FusedForm("native", share=False)]
)
def test_what_is_kept_changes_nothing(models_dir: Path, form: FusedForm) -> None:
    pipe = tiny_pipe(models_dir)
    with fused_blocks.on(pipe, FORM):
        kept = latents(pipe, "t2v", steps=3)
    with fused_blocks.on(pipe, form):
        assert torch.equal(latents(pipe, "t2v", steps=3), kept)


def test_work_that_both_passes_share_is_done_once(models_dir: Path) -> None:
    """Of the first block alone, and never for other latents or another time."""
    pipe = tiny_pipe(models_dir)
    first, second = (pipe.transformer.blocks[n].attn1.to_q for n in (0, 1))
    texts = pipe.transformer.blocks[1].attn2.to_k
    done: list[Any] = []
    for module in (first, second, texts):
        module.register_forward_hook(lambda module, *_: done.append(module))
    given = {
        "hidden_states": torch.randn(1, 16, 2, 8, 8),
        "timestep": torch.tensor([900]),
        "return_dict": False,
    }
    width = pipe.transformer.config.text_dim
    guided, unguided = torch.randn(1, 512, width), torch.randn(1, 512, width)

    def run(text: Any, **changes: Any) -> Any:
        with torch.no_grad():
            return pipe.transformer(encoder_hidden_states=text, **(given | changes))[0]

    plain = [run(guided), run(unguided), run(guided, timestep=torch.tensor([500]))]
    done.clear()
    with fused_blocks.on(pipe, FORM):
        ours = [run(guided), run(unguided)]
        assert [done.count(module) for module in (first, second, texts)] == [1, 2, 2]
        ours.append(run(guided, timestep=torch.tensor([500])))
        assert [done.count(module) for module in (first, second, texts)] == [2, 3, 2]
        # the same object with other numbers in it
        given["hidden_states"].mul_(2)
        changed = run(guided)
    assert all(_error(one, other) < 1e-4 for one, other in zip(ours, plain, strict=True))
    assert _error(changed, run(guided)) < 1e-4


def test_an_expert_that_is_done_keeps_nothing(models_dir: Path) -> None:
    """Keys and values of two texts are 0.8 GB of a 14B expert."""
    pipe = tiny_pipe(models_dir)
    with fused_blocks.on(pipe, FORM):
        high, low = (expert.blocks for expert in (pipe.transformer, pipe.transformer_2))
        latents(pipe, "t2v", steps=4)
        assert not high[0].forward.texts
        assert high[0].forward.kept.first is None
        assert len(low[0].forward.texts) == 2
        left = low[0].forward
    assert not left.texts
    assert left.kept.first is None


def test_a_render_says_who_computed_it(models_dir: Path, tmp_path: Path) -> None:
    plain = Renderer(models_dir, "cpu").render(request_for(tmp_path / "a"), lambda _: None, lambda: False)
    ours = Renderer(models_dir, "cpu", ON).render(request_for(tmp_path / "b"), lambda _: None, lambda: False)
    assert plain.recipe["speed"]["blocks"] == "plain"
    assert plain.recipe["speed"]["fused_blocks"] == ""
    assert ours.recipe["speed"] | {"blocks": "fused", "fused_blocks": "native"} == ours.recipe["speed"]
    assert "not_fused" not in ours.recipe["speed"]
    # the encoder chooses otherwise where a frame differs by a rounding; another seed is more than ten off
    difference = np.abs(decoded(ours.video).astype(int) - decoded(plain.video))
    assert difference.mean() < 2


def test_jobs_that_fused_blocks_do_not_know_are_rendered_as_before(models_dir: Path, tmp_path: Path) -> None:
    """LoRAs, approximations and paired passes: the very frames of a renderer without fused blocks; and fused again
    afterwards."""
    tiny.lora_file(tmp_path / "lora.safetensors", seed=3)
    worn = {"loras": (Lora(path=str(tmp_path / "lora.safetensors"), sha256="0" * 64),)}
    cached = {"options": {"lossy": "first_block"}, "steps": 8}
    plain, ours = Renderer(models_dir, "cpu"), Renderer(models_dir, "cpu", ON)

    def draw_both(name: str, **changes: Any) -> tuple[Any, Any]:
        made = [
            renderer.render(request_for(tmp_path / f"{name}{n}", **changes), lambda _: None, lambda: False).recipe
            for n, renderer in enumerate((plain, ours))
        ]
        return made[0], made[1]

    _, fused = draw_both("bare")
    assert fused["speed"]["blocks"] == "fused"
    for changes, why in ((worn, "LoRAs are on"), (cached, "the approximation first_block works inside the blocks")):
        without, instead = draw_both(why[:4], **changes)
        assert instead["frames_sha256"] == without["frames_sha256"]
        assert (instead["speed"]["blocks"], instead["speed"]["not_fused"]) == ("plain", why)
    _, again = draw_both("again")
    assert again["frames_sha256"] == fused["frames_sha256"]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"t2v", "i2v", "ti2v-t2v"}))
def test_pipelines_that_they_do_not_know(loaded: Any, kind: str) -> None:
    """VACE's and Animate's blocks are others, TI2V-5B's given tokens have a time of their own."""
    why = fused_blocks.why_not(loaded(kind))
    assert why is not None
    assert ("time of its own" if kind.startswith("ti2v") else "has other blocks") in why


def test_what_keeps_them_off(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    pipe = tiny_pipe(models_dir)
    assert fused_blocks.why_not(pipe) is None
    assert fused_blocks.why_not(pipe, batched=True) == "both passes are one batch"
    with lossy.on(pipe, "first_block", 8, models_dir):
        assert fused_blocks.why_not(pipe) == "its parts come and go, or are watched"
    assert fused_blocks.why_not(pipe) is None
    pipe.transformer.register_to_config(added_kv_proj_dim=32)
    assert "pictures" in str(fused_blocks.why_not(pipe))
    pipe.transformer.register_to_config(added_kv_proj_dim=None)
    monkeypatch.setattr(diffusers, "__version__", "0.43.0")
    assert fused_blocks.why_not(pipe) == "diffusers 0.43.0 is not known"
    assert not fused_vae.knows()


@pytest.mark.parametrize("where", [Where.EXPERTS_VISIT, Where.STREAMED, Where.FP8_STORAGE])
def test_parts_that_come_and_go(models_dir: Path, where: Where) -> None:
    assert tuning.plan_for(CPU, "fp32", ON, resident=False).fused_blocks == ""
    pipe = tiny_pipe(models_dir)
    if where is Where.STREAMED:
        place(pipe, MemoryPlan(where), CPU)
        assert fused_blocks.why_not(pipe) == "its parts come and go, or are watched"


def test_the_8_bit_lane_has_blocks_of_its_own() -> None:
    assert tuning.plan_for(CPU, "fp8", ON).fused_blocks == ""


def test_what_lies_under_them_comes_back(models_dir: Path) -> None:
    """A compiled forward, say."""
    pipe = tiny_pipe(models_dir)
    block, other = pipe.transformer.blocks[:2]
    compiled = block.forward = lambda *given: type(block).forward(block, *given)
    with fused_blocks.on(pipe, FORM):
        assert block.forward is not compiled
    assert block.forward is compiled
    assert "forward" not in vars(other)


def test_two_clips_at_once_are_refused(models_dir: Path) -> None:
    """The kernels would read past the first one's times."""
    pipe = tiny_pipe(models_dir)
    with (
        fused_blocks.on(pipe, FORM),
        together(pipe, torch.zeros(1, 512, pipe.transformer.config.text_dim)),
        pytest.raises(ValueError, match="one clip with one time"),
    ):
        latents(pipe, "t2v", steps=1)


def test_a_device_proves_them_before_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fused_blocks.error_on(CPU, "native") < 0.01
    assert max(fused_vae.error_on(CPU, residual=kind) for kind in (False, True)) < 0.005
    # with no proof of the VAE besides: seconds on a CPU
    blocks_alone = tuning.Wishes(fused="on", vae="fp32")
    assert tuning.plan_for(CPU, "fp32", blocks_alone).fused_blocks == "native"
    with monkeypatch.context() as wrong:
        # an attention, a norm that computes something else
        wrong.setattr(fused_blocks, "attend_with", lambda _: lambda q, k, v: q)
        assert fused_blocks.error_on(CPU, "native") > 0.05
    with monkeypatch.context() as wrong:
        wrong.setattr(kernels, "rms_silu", lambda x, *_, **__: x)
        assert fused_vae.error_on(CPU, residual=True) > 0.05

    def fails(*_: Any) -> float:
        raise OSError("no C compiler")

    for broken in (lambda *_: 0.5, lambda *_: float("nan"), fails):
        monkeypatch.setattr(fused_blocks, "error_on", broken)
        assert tuning.plan_for(CPU, "fp32", blocks_alone).fused_blocks == ""


def test_which_attention_they_take_on_which_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlashAttention 3 where it is installed and computes rightly; diffusers' choice otherwise; none without Triton."""
    h200, ada = SimpleNamespace(type="cuda"), SimpleNamespace(type="cuda")
    good = {attention.FLASH_3, "_native_cudnn"}
    monkeypatch.setattr(tuning, "_capability", lambda device: (9, 0) if device is h200 else (8, 9))
    monkeypatch.setattr(tuning, "_attention_for", lambda device: "_native_cudnn")
    monkeypatch.setattr(fused_blocks, "error_on", lambda _, name: 0.002 if name in good else 1.0)
    # the VAE of TI2V-5B has a proof of its own
    monkeypatch.setattr(fused_vae, "error_on", lambda _, residual: 1.0 if residual else 0.002)
    monkeypatch.setattr(tuning.kernels, "available", lambda: True)
    monkeypatch.setattr(tuning, "has_flash_3", lambda: True)
    assert tuning.plan_for(h200).fused_blocks == attention.FLASH_3
    assert tuning.plan_for(h200).attention == "_native_cudnn"
    assert [tuning.plan_for(h200, residual_vae=kind).fused_vae for kind in (False, True)] == [True, False]
    # who named an attention gets it
    assert tuning.plan_for(h200, wishes=tuning.Wishes(attention="_native_cudnn")).fused_blocks == "_native_cudnn"
    assert tuning.plan_for(h200, wishes=tuning.Wishes(fused="off")).fused_blocks == ""
    assert not tuning.plan_for(h200, wishes=tuning.Wishes(vae="fp32")).fused_vae
    assert (tuning.plan_for(ada).fused_blocks, tuning.plan_for(ada).fused_vae) == ("", False)
    good.remove(attention.FLASH_3)
    assert tuning.plan_for(h200).fused_blocks == "_native_cudnn"
    monkeypatch.setattr(tuning.kernels, "available", lambda: False)
    assert (tuning.plan_for(h200).fused_blocks, tuning.plan_for(h200).fused_vae) == ("", False)


def test_flash_attention_3_needs_no_shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the H200 diffusers did not take a package of the name that it looks for: it asks for its version, too."""
    from diffusers.utils.import_utils import _is_package_available

    assert not attention.has_flash_3()
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("fa3_fwd_interface", "flash_attn_3"):
        (tmp_path / f"{name}.py").write_text("def _flash_attn_forward(q, k, v, softmax_scale): return q * 2, None\n")
    assert attention.has_flash_3()
    assert _is_package_available("flash_attn_3") == (False, "N/A")
    with pytest.raises(RuntimeError, match="_flash_3"):
        tuning.require_attention("_flash_3")
    some = torch.ones(1, 4, 2, 8)
    assert torch.equal(attention.attend_with(attention.FLASH_3)(some, some, some), some * 2)
    with pytest.raises(ValueError, match="no such"):
        attention.attend_with("no such")


def test_calibration_is_not_bypassed(models_dir: Path) -> None:
    """MagCache measures with hooks on the blocks, which a forward of ours would not run."""
    ours = Renderer(models_dir, "cpu", ON)
    file = warmup.calibrate(ours, f"{T2V} 64x64x5", "a red fox")
    assert file.stat().st_size > 0


@pytest.mark.parametrize("model", [T2V, TI2V])
def test_a_fused_vae_is_the_same_vae(models_dir: Path, model: str) -> None:
    """Decoding and encoding, in fp32, where nothing is rounded."""
    pipe, other = tiny_pipe(models_dir, model), tiny_pipe(models_dir, model)
    fused_vae.fuse(other.vae)
    clip = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    with torch.no_grad():
        mine, theirs = (vae.encode(clip).latent_dist.mode() for vae in (other.vae, pipe.vae))
        assert _error(mine, theirs) < 1e-5
        assert _error(other.vae.decode(theirs).sample, pipe.vae.decode(theirs).sample) < 1e-5


def test_a_recipe_tells_of_a_fused_vae(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # it is proved above, in two seconds of a CPU
    monkeypatch.setattr(fused_vae, "error_on", lambda *_, **__: 0.0)
    picture = draw(tmp_path / "picture.png", 64, 64)
    half = Renderer(models_dir, "cpu", tuning.Wishes(fused="on", vae="bf16"))
    request = request_for(tmp_path / "out", I2V, "i2v", inputs={"image": str(picture)})
    recipe = half.render(request, lambda _: None, lambda: False).recipe
    assert recipe["speed"]["fused_vae"]
    assert recipe["precision"]["vae"] == "bfloat16"


def test_the_first_pass_is_not_paired_with_fused_blocks(models_dir: Path, tmp_path: Path) -> None:
    """An operator who wants both passes at once gets them."""
    ours = Renderer(models_dir, "cpu", tuning.Wishes(fused="on", batched_guidance="on"))
    assert guidance.fits(catalog.get(T2V), "t2v", 4.0, None)
    recipe = ours.render(request_for(tmp_path / "out"), lambda _: None, lambda: False).recipe
    assert recipe["speed"]["not_fused"] == "both passes are one batch"


def test_where_passes_stay_apart_is_decided_with_fused_blocks_in_mind(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the H200 one batch won at 1,755 tokens against diffusers' blocks and lost against fused ones, which a LoRA
    keeps off. As on a GPU, with a tiny clip between the two bounds."""
    wins = guidance.wins
    monkeypatch.setattr(guidance, "wins", lambda wish, _, work, fused: wins(wish, "cuda", work, fused=fused))
    monkeypatch.setattr(guidance, "MOST_WORK_FUSED", 0.0)
    ours = Renderer(models_dir, "cpu", ON)
    bare = ours.render(request_for(tmp_path / "bare"), lambda _: None, lambda: False).recipe
    assert (bare["speed"]["blocks"], bare["plan"]) == ("fused", "resident")
    tiny.lora_file(tmp_path / "lora.safetensors", seed=3)
    worn = request_for(tmp_path / "worn", loras=(Lora(path=str(tmp_path / "lora.safetensors"), sha256="0" * 64),))
    recipe = ours.render(worn, lambda _: None, lambda: False).recipe
    assert (recipe["speed"]["blocks"], recipe["plan"]) == ("plain", "resident, both passes at once")


def test_text_to_video_has_one_time_for_the_clip(loaded: Any, models_dir: Path, tmp_path: Path) -> None:
    """TI2V-5B's own pipeline gives every token one; without a picture all are the same. With one they are not,
    whichever task the model was loaded for."""
    pipe = loaded("ti2v-t2v")
    times: list[tuple[int, ...]] = []
    look = pipe.transformer.register_forward_pre_hook(
        lambda _, __, given: times.append(tuple(given["timestep"].shape)), with_kwargs=True
    )
    try:
        ours = latents(pipe, "ti2v-t2v", steps=4)
        assert set(times) == {(1,)}
        times.clear()
        latents(loaded("ti2v-i2v"), "ti2v-i2v", steps=2)
        assert set(times) == {(1, 2)}
    finally:
        look.remove()
    stock = tiny_pipe(models_dir, TI2V)
    assert stock.config.expand_timesteps
    assert _error(ours, latents(stock, "ti2v-t2v", steps=4)) < 1e-5
    first = loading.load(catalog.get(TI2V), models_dir, CPU, "i2v")
    assert [first.pipe_for(task).config.expand_timesteps for task in ("i2v", "t2v")] == [True, False]
    recipe = Renderer(models_dir, "cpu", ON).render(request_for(tmp_path, TI2V), lambda _: None, lambda: False).recipe
    assert recipe["speed"]["blocks"] == "fused"


def _error(ours: Any, theirs: Any) -> float:
    return float((ours.float() - theirs.float()).norm() / theirs.float().norm())
