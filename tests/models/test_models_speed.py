"""Faster without being something else: what is set on a pipeline, and that it can be taken back.

The approximations are tried on every pipeline: against the same render without, and by showing a model the same input
again and again, where a right one must give the same output.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_parts import T2V, Render, decoded, request_for
from PIL import Image

from models import catalog, loading, lossy, options, runtime, speed, tiny, warmup
from models.loading import Loaded
from models.renderer import Renderer
from models.request import Cancelled, RenderFault

FP8 = "wan2.2-t2v-a14b-fp8-tiny"
STEPS = 12
CPU = torch.device("cpu")

#: kind of pipeline -> (model, task)
KINDS = {
    "t2v": (T2V, "t2v"),
    "i2v": ("wan2.2-i2v-a14b-tiny", "i2v"),
    "ti2v-t2v": ("wan2.2-ti2v-5b-tiny", "t2v"),
    "ti2v-i2v": ("wan2.2-ti2v-5b-tiny", "i2v"),
    "vace": ("wan2.2-vace-fun-a14b-tiny", "vace"),
    "animate": ("wan2.2-animate-14b-tiny", "animate"),
}
RIGHT = [(kind, name) for name, how in options.LOSSY.items() for kind in sorted(how.kinds)]
_kept: dict[str, Loaded] = {}


@pytest.fixture(scope="module")
def loaded(models_dir: Path) -> Callable[[str], Any]:
    """kind -> its pipeline, loaded once."""
    runtime.prepare()

    def load(kind: str) -> Any:
        model, task = KINDS[kind]
        if model not in _kept:
            _kept[model] = loading.load(catalog.get(model), models_dir, CPU, task)
        pipe = _kept[model].pipe_for(task)
        file = lossy.ratios_file(models_dir, catalog.get(model))
        if not file.exists() and kind != "animate":
            with lossy.calibrating(pipe, STEPS, file):
                latents(pipe, kind)
        return pipe

    return load


def latents(pipe: Any, kind: str, guidance: float = 4.0, steps: int = STEPS) -> Any:
    """What the pipeline draws, before it is decoded; of Animate the frames."""
    picture = Image.fromarray(np.random.RandomState(0).randint(0, 255, (32, 32, 3), dtype=np.uint8))
    more: dict[str, Any] = {"num_frames": 5}
    if kind.endswith("i2v"):
        more["image"] = picture
    if kind == "vace":
        more |= {"video": [picture] * 5, "mask": [Image.new("L", (32, 32), 255)] * 5}
    if kind == "animate":
        guides = [picture] * 5
        more = {"image": picture, "pose_video": guides, "face_video": guides, "segment_frame_length": 5}
    made = pipe(
        prompt="a red fox",
        height=32,
        width=32,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
        **more,
    ).frames
    return torch.as_tensor(np.asarray(made))


@contextmanager
def counted(pipe: Any) -> Iterator[list[int]]:
    """How often an attention of the experts computed."""
    count = [0]

    def one(*_: Any) -> None:
        count[0] += 1

    attentions = [block.attn1.norm_q for expert in lossy.experts_of(pipe).values() for block in expert.blocks]
    handles = [attention.register_forward_pre_hook(one) for attention in attentions]
    yield count
    for handle in handles:
        handle.remove()


def guidance_of(name: str) -> float:
    return 4.0 if options.LOSSY[name].guided else 1.0


@pytest.mark.parametrize(("kind", "name"), RIGHT)
def test_an_approximation_saves_work_and_leaves_nothing(loaded: Any, models_dir: Path, kind: str, name: str) -> None:
    pipe, guidance = loaded(kind), 1.0 if kind == "animate" else guidance_of(name)
    ratios = lossy.ratios_file(models_dir, catalog.get(KINDS[kind][0]))
    with counted(pipe) as work:
        plain = latents(pipe, kind, guidance)
        whole = work[0]
        with lossy.on(pipe, name, STEPS, ratios) as told:
            near = latents(pipe, kind, guidance)
        saved = 2 * whole - work[0]
    assert [one["part"] for one in told] == list(lossy.experts_of(pipe))
    assert saved > 0
    assert 0 < float((near - plain).norm() / plain.norm()) < 0.25
    assert torch.equal(latents(pipe, kind, guidance), plain)


def given_to(pipe: Any, kind: str) -> dict[str, Any]:
    """What the first expert is called with in a real render, at a timestep in the middle."""
    given: dict[str, Any] = {}
    handle = pipe.transformer.register_forward_pre_hook(lambda _, __, kwargs: given.update(kwargs), with_kwargs=True)
    latents(pipe, kind, guidance=1.0, steps=1)
    handle.remove()
    # the text encoder of a tiny model hardly tells one prompt from another
    given["encoder_hidden_states"] = torch.randn(given["encoder_hidden_states"].shape)
    given["timestep"] = torch.full_like(given["timestep"], 500)
    return given


def drift(pipe: Any, kind: str, name: str, passes: tuple[str, ...] = ("cond",)) -> float:
    """How far the outputs for one and the same input move while the approximation is on, relative; each pass has a
    text of its own."""
    given, expert = given_to(pipe, kind), pipe.transformer
    texts = {of: given["encoder_hidden_states"] * (1 + 3 * n) for n, of in enumerate(passes)}
    worst = 0.0
    with torch.no_grad():
        plain = {of: expert(**{**given, "encoder_hidden_states": texts[of]})[0] for of in passes}
        expert.enable_cache(_forced(pipe, name))
        try:
            for step in range(8):
                for of in passes:
                    where = {"step_index": step, "sigma": 1 - step / 20, "num_inference_steps": STEPS}
                    with expert.cache_context(of, **where):
                        out = expert(**{**given, "encoder_hidden_states": texts[of]})[0]
                    worst = max(worst, float((out - plain[of]).norm() / plain[of].norm()))
        finally:
            expert._reset_stateful_cache()
            expert.disable_cache()
    return worst


def _forced(pipe: Any, name: str) -> Any:
    settings = {
        "first_block": {"threshold": 0.05},
        "mag": {"threshold": 1.0, "steps": STEPS, "ratios": [1.0] * STEPS},
        "sea": {"threshold": 10.0},
        "taylorseer": {"cache_interval": 5, "max_order": 1},
        "pab": {"range": 2, "timesteps": [100, 800]},
    }
    config, off = lossy._config(name, pipe.transformer, settings[name])
    _undo.append(off)
    return config


_undo: list[Callable[[], Any]] = []


@pytest.fixture(autouse=True)
def _taken_off() -> Iterator[None]:
    yield
    while _undo:
        _undo.pop()()


@pytest.mark.parametrize(("kind", "name"), RIGHT)
def test_the_same_input_gives_the_same_output(loaded: Any, kind: str, name: str) -> None:
    pipe = loaded(kind)
    with counted(pipe) as work:
        assert drift(pipe, kind, name, ("cond", "uncond") if options.LOSSY[name].guided else ("cond",)) < 1e-4
        per_pass = len(pipe.transformer.blocks)
    assert work[0] < per_pass * (8 + 2) * (2 if options.LOSSY[name].guided else 1)


def test_what_is_refused_is_wrong(loaded: Any) -> None:
    """The reasons for the table in models.options, so that a diffusers that mends one is noticed."""
    for name in ("first_block", "mag"):
        assert drift(loaded("vace"), "vace", name) > 0.02, name
    for name in ("first_block", "mag", "sea"):
        with pytest.raises(ValueError, match="not registered"):
            drift(loaded("animate"), "animate", name)
    for kind in ("i2v", "ti2v-i2v", "vace"):
        pipe = loaded(kind)
        with counted(pipe) as work:
            latents(pipe, kind)
            whole = work[0]
            with lossy.on(pipe, "sea", STEPS, Path()):
                latents(pipe, kind)
        assert work[0] == 2 * whole, kind
    # with two passes, the second is shown the first one's attention
    assert drift(loaded("t2v"), "t2v", "pab", ("cond", "uncond")) > 1e-3 > drift(loaded("t2v"), "t2v", "pab")


def test_mag_needs_a_calibration(loaded: Any, tmp_path: Path) -> None:
    pipe = loaded("t2v")
    with pytest.raises(RenderFault, match="not calibrated") as fault, lossy.on(pipe, "mag", STEPS, tmp_path / "no"):
        pass
    assert fault.value.code == "invalid_input"
    assert not pipe.transformer.is_cache_enabled


def test_a_calibration_is_a_render_in_the_models_own_steps(
    renderer: Renderer, render: Render, models_dir: Path
) -> None:
    file = warmup.calibrate(renderer, f"{T2V} 64x64x5", "a red fox")
    assert file == lossy.ratios_file(models_dir, catalog.get(T2V))
    ratios = json.loads(file.read_text())
    assert list(ratios) == ["transformer", "transformer_2"]
    assert sum(len(curve) for curve in ratios.values()) == catalog.get(T2V).defaults.steps
    near = render(steps=STEPS, options={"lossy": "mag"}).recipe["caches"]
    assert [one["name"] for one in near] == ["mag", "mag"]
    assert all(len(one["ratios_sha256"]) == 64 for one in near)
    with pytest.raises(catalog.ShapeError, match="mag is not right"):
        warmup.calibrate(renderer, f"{T2V[:-5]}-4step-tiny 64x64x5", "a red fox")
    file.unlink()


def test_each_expert_has_its_own_steps(loaded: Any) -> None:
    pipe = loaded("t2v")
    counts = lossy.steps_of_experts(pipe, 40)
    assert sum(counts.values()) == 40
    assert min(counts.values()) > 5
    assert lossy.steps_of_experts(loaded("ti2v-t2v"), 40) == {"transformer": 40}


def test_a_job_approximates_for_itself(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    before = render(steps=STEPS)
    near = render(steps=STEPS, options={"lossy": "first_block"})
    assert {one["name"] for one in near.recipe["caches"]} == {"first_block"}
    assert near.recipe["options"] == {"lossy": "first_block"}
    assert near.recipe["frames_sha256"] != before.recipe["frames_sha256"]
    asked = [0]

    def soon() -> bool:
        asked[0] += 1
        return asked[0] > 40

    request = request_for(tmp_path / "cancelled", steps=STEPS, options={"lossy": "first_block"})
    with pytest.raises(Cancelled):
        renderer.render(request, lambda _: None, soon)
    after = render(steps=STEPS)
    assert after.recipe["caches"] == []
    assert after.recipe["frames_sha256"] == before.recipe["frames_sha256"]


def test_a_wrong_option_is_the_jobs_fault_before_anything_is_loaded(models_dir: Path, tmp_path: Path) -> None:
    renderer = Renderer(models_dir, "cpu")
    with pytest.raises(RenderFault, match=r"options\.lossy: .*at least 8") as fault:
        renderer.render(request_for(tmp_path / "out", options={"lossy": "sea"}), lambda _: None, lambda: False)
    assert fault.value.code == "invalid_input"
    assert renderer.lane is None


def tiny_pipe(models_dir: Path, model: str = T2V) -> Any:
    """A pipeline of the test's own, to be changed."""
    import diffusers

    pipe = diffusers.WanPipeline.from_pretrained(tiny.ensure(models_dir, model), dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_attention_is_each_models_own(models_dir: Path) -> None:
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    before = _AttentionBackendRegistry._active_backend
    pipe, other = tiny_pipe(models_dir), tiny_pipe(models_dir)
    speed.apply(pipe, speed.Plan(attention="_native_math"))
    for expert in (pipe.transformer, pipe.transformer_2):
        assert speed.attention_of(expert) == {"_native_math"}
    assert speed.attention_of(other.transformer) == {None}
    assert speed.attention_of(tiny_pipe(models_dir).transformer) == {None}
    assert _AttentionBackendRegistry._active_backend == before
    with pytest.raises(RuntimeError):
        speed.set_attention(other.transformer, "_flash_3")
    assert _AttentionBackendRegistry._active_backend == before


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_follows_the_processs_default(loaded: Any, kind: str) -> None:
    """A default that cannot compute here: whoever asked for it would raise."""
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    pipe, before = loaded(kind), _AttentionBackendRegistry._active_backend
    _AttentionBackendRegistry.set_active_backend(AttentionBackendName._NATIVE_CUDNN)
    try:
        for expert in lossy.experts_of(pipe).values():
            assert speed.attention_of(expert) == {"native"}
        assert torch.isfinite(latents(pipe, kind, steps=2)).all()
    finally:
        _AttentionBackendRegistry.set_active_backend(before)


def test_an_operator_who_wishes_for_what_is_not_here_is_told() -> None:
    for backend in ("_flash_3", "sage", "quick"):
        with pytest.raises(RuntimeError, match=backend):
            speed.plan_for(CPU, wishes=speed.Wishes(attention=backend))
    assert speed.plan_for(CPU, "fp32") == speed.Plan()
    # diffusers would let cuDNN's be set anywhere
    assert speed.attends("native", CPU)
    assert not speed.attends("_native_cudnn", CPU)


def test_fused_projections_are_the_same_and_cost_nothing(models_dir: Path) -> None:
    pipe = tiny_pipe(models_dir)
    plain = latents(pipe, "t2v", steps=2)
    speed.fuse_qkv(pipe.transformer)
    speed.fuse_qkv(pipe.transformer_2)
    attention = pipe.transformer.blocks[0].attn1
    assert attention.to_k.weight.untyped_storage().data_ptr() == attention.to_qkv.weight.untyped_storage().data_ptr()
    assert torch.equal(latents(pipe, "t2v", steps=2), plain)
    speed.unfuse_qkv(pipe.transformer)
    assert not hasattr(attention, "to_qkv")
    assert torch.equal(latents(pipe, "t2v", steps=2), plain)


def test_loras_reach_a_fused_model(render: Render, models_dir: Path, tmp_path: Path) -> None:
    from models.request import Lora

    tiny.lora_file(tmp_path / "lora.safetensors", seed=3)
    lora = Lora(path=str(tmp_path / "lora.safetensors"), sha256="0" * 64)
    plain, worn = render(), render(loras=(lora,))
    fused = Renderer(models_dir, "cpu", speed.Wishes(fuse_qkv="on"))
    for number, (loras, like) in enumerate((((), plain), ((lora,), worn), ((), plain))):
        out = fused.render(request_for(tmp_path / f"fused{number}", loras=loras), lambda _: None, lambda: False)
        assert out.recipe["speed"]["fuse_qkv"]
        assert out.recipe["frames_sha256"] == like.recipe["frames_sha256"]


def test_a_vae_in_bf16_draws_nearly_the_same(render: Render, models_dir: Path, tmp_path: Path) -> None:
    plain = render()
    half = Renderer(models_dir, "cpu", speed.Wishes(vae="bf16"))
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
    from models.request import Lora

    with pytest.raises(RenderFault, match="wears no LoRAs"):
        render(FP8, loras=(Lora(path=str(tmp_path / "lora.safetensors"), sha256="0" * 64),))


def test_only_the_blocks_linears_are_quantised(models_dir: Path) -> None:
    expert = tiny_pipe(models_dir).transformer
    speed.quantise(expert, "fp8 weights")
    in_8_bits = {name for name, p in expert.named_parameters() if type(p.data).__name__ == "Float8Tensor"}
    assert in_8_bits
    assert all(name.startswith("blocks.") and name.endswith("weight") for name in in_8_bits)
    assert len(in_8_bits) == len(expert.blocks) * 10  # q, k, v, o twice and the feed-forward's two


@pytest.mark.parametrize(
    "shape", [f"{T2V} 64x64x9", "wan2.2-i2v-a14b-tiny 64x96x5", "wan2.2-t2v-a14b-4step-tiny 64x64x5"]
)
def test_a_shape_is_warmed_before_its_first_job(renderer: Renderer, shape: str) -> None:
    warmup.warm(renderer, shape)
    assert renderer.lane is not None
    assert renderer.lane.startswith(shape.split(maxsplit=1)[0])


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


def _compiled(models_dir: Path, backend: str) -> tuple[float, Any]:
    """(difference to the same pipeline as it comes, the compiled pipeline)."""
    pipe = tiny_pipe(models_dir)
    plain = latents(pipe, "t2v", steps=4)
    for expert in lossy.experts_of(pipe).values():
        speed.compile_blocks(expert, backend)
    return float((latents(pipe, "t2v", steps=4) - plain).norm() / plain.norm()), pipe


def test_one_graph_serves_all_blocks_and_what_looks_on_stays_outside(models_dir: Path) -> None:
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    difference, pipe = _compiled(models_dir, "eager")
    assert difference < 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    seen = [0]
    handle = pipe.transformer.blocks[0].register_forward_pre_hook(lambda *_: seen.__setitem__(0, seen[0] + 1))
    plain = latents(pipe, "t2v")
    handle.remove()
    assert seen[0] > 0
    with lossy.on(pipe, "first_block", STEPS, Path()):
        assert not torch.equal(latents(pipe, "t2v"), plain)
    assert torch.equal(latents(pipe, "t2v"), plain)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("kind", ["ti2v-i2v", "vace", "animate"])
def test_every_pipelines_blocks_are_whole_graphs(models_dir: Path, kind: str) -> None:
    import torch._dynamo

    torch._dynamo.reset()
    model, task = KINDS[kind]
    pipe = loading.load(catalog.get(model), models_dir, CPU, task).pipe_for(task)
    plain = latents(pipe, kind, steps=2)
    for expert in lossy.experts_of(pipe).values():
        speed.compile_blocks(expert, "eager")
    assert torch.allclose(latents(pipe, kind, steps=2), plain, atol=1e-5)


_COMPILES = """
import json, sys
import torch
from models import runtime, speed, tiny
runtime.prepare()
speed.prepare(speed.Wishes(cache_dir=sys.argv[1]))
import torch._dynamo
torch.manual_seed(0)
expert = tiny._dit(16, 16).eval()
speed.compile_blocks(expert)
hits, sums = [], []
for frames in (3, 2):
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():
        made = expert(
            hidden_states=torch.ones(1, 16, frames, 8, 8),
            timestep=torch.tensor([500.0]),
            encoder_hidden_states=torch.ones(1, 512, 32),
            return_dict=False,
        )[0]
    counted = torch._dynamo.utils.counters["inductor"]
    hits.append([counted["fxgraph_cache_miss"], counted["fxgraph_cache_hit"]])
    sums.append(float(made.sum()))
    if sys.argv[2] == "once":
        break
print(json.dumps([hits, sums]))
"""


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_compiled_kernels_are_found_again_by_another_process(tmp_path: Path) -> None:
    """Kept over a restart, and by shape. A minute of g++ on two cores, which is why it is not among the others."""

    def compiled(times: str) -> tuple[list[list[int]], list[float]]:
        run = subprocess.run(
            [sys.executable, "-c", _COMPILES, str(tmp_path), times], capture_output=True, check=True, cwd=Path.cwd()
        )
        hits, sums = json.loads(run.stdout.splitlines()[-1])
        return hits, sums

    first, sums = compiled("once")
    again, others = compiled("twice")
    assert first == [[1, 0]]
    # the same shape is read back, another one is compiled
    assert again == [[0, 1], [1, 0]]
    assert others[0] == sums[0]
    assert list(tmp_path.glob("torch-*/**/*.so"))
