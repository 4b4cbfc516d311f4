"""Both passes of a step in one batch: the same sums, in half as many calls, and only where nothing keeps them apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from model_parts import I2V, T2V, TI2V, Render, request_for
from PIL import Image

from models import catalog
from models.acceleration import guidance
from models.acceleration.memory import MemoryLimits
from models.acceleration.tuning import Wishes
from models.planning.plan import GB, Burden, MemoryPlan, Room, Where, fitting, needs, smaller
from models.planning.request import Cancelled, Progress, RenderRequest, Stage
from models.render.renderer import Renderer

A14B = catalog.get("wan2.2-t2v-a14b")


@pytest.fixture(scope="module")
def eager(models_dir: Path) -> Renderer:
    """A renderer that puts both passes together wherever they go together."""
    return Renderer(models_dir, "cpu", Wishes(batched_guidance="on"))


@contextmanager
def batches() -> Iterator[list[int]]:
    """The batch of every call of a transformer's block."""
    seen: list[int] = []

    def look(module: Any, given: Any) -> None:
        if type(module).__name__ == "WanTransformerBlock":
            seen.append(given[0].shape[0])

    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        hook.remove()


def draw(renderer: Renderer, request: RenderRequest) -> Any:
    told: list[Progress] = []
    result = renderer.render(request, told.append, lambda: False)
    # progress inside a step is counted in calls that really come: the last one ends the step
    inside = max(progress.fraction for progress in told if progress.stage is Stage.DENOISING and progress.step == 0)
    assert inside == pytest.approx(next(progress.fraction for progress in told if progress.step == 1), abs=0.005)
    return result


@pytest.mark.parametrize(
    ("model", "task"),
    [
        (I2V, "i2v"),
        (TI2V, "t2v"),
        *(pytest.param(*one, marks=pytest.mark.soak) for one in ((T2V, "t2v"), (TI2V, "i2v"))),
    ],
)
def test_one_batch_is_two_passes(
    eager: Renderer, render: Render, picture: Path, tmp_path: Path, model: str, task: str
) -> None:
    inputs = {"image": str(picture)} if task == "i2v" else {}
    with batches() as seen:
        result = draw(eager, request_for(tmp_path / "a", model, task, inputs=inputs))
    assert seen == [2] * (4 * catalog.get(model).dit.layers)  # of 4 steps
    assert result.recipe["plan"] == "resident, both passes at once"
    again = draw(eager, request_for(tmp_path / "b", model, task, inputs=inputs))
    assert again.recipe["frames_sha256"] == result.recipe["frames_sha256"]
    assert render(model, task, inputs=inputs).recipe["plan"] == "resident"

    pipe, random = eager.pipe_for(task), torch.Generator().manual_seed(3)
    texts = torch.randn(2, 1, 512, pipe.text_encoder.config.d_model, generator=random)

    def latents(negative: Any) -> Any:
        more: dict[str, Any] = {"image": Image.open(picture)} if task == "i2v" else {}
        if model != TI2V:
            more["guidance_scale_2"] = 3.0
        return pipe(
            prompt_embeds=texts[0],
            negative_prompt_embeds=negative,
            height=32,
            width=32,
            num_frames=5,
            num_inference_steps=4,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(1),
            output_type="latent",
            **more,
        ).frames

    apart = latents(texts[1])
    with guidance.together(pipe, texts[1]):
        one = latents(texts[1])
    assert float((one - apart).norm() / apart.norm()) < 5e-5
    assert float((latents(texts[0]) - apart).norm() / apart.norm()) > 1e-4  # the unguided text is felt
    assert torch.equal(latents(texts[1]), apart)


def test_a_cancel_between_leaves_nothing(eager: Renderer, render: Render, tmp_path: Path) -> None:
    told: list[Progress] = []
    with pytest.raises(Cancelled):
        eager.render(request_for(tmp_path / "a"), told.append, lambda: bool(told) and told[-1].step == 2)
    assert "forward" not in vars(eager.pipe_for("t2v").transformer)
    # without guidance there is one pass, and its frames are everybody's
    alone = {"guidance": 1.0, "guidance_2": 1.0}
    result = draw(eager, request_for(tmp_path / "b", **alone))
    assert result.recipe["plan"] == "resident"
    assert result.recipe["frames_sha256"] == render(**alone).recipe["frames_sha256"]


def test_an_approximation_keeps_them_apart(eager: Renderer, render: Render, tmp_path: Path) -> None:
    near = {"options": {"lossy": "first_block"}, "steps": 8}
    result = draw(eager, request_for(tmp_path / "a", **near))
    assert result.recipe["plan"] == "resident"
    assert result.recipe["frames_sha256"] == render(**near).recipe["frames_sha256"]


def test_when_two_passes_go_together() -> None:
    assert guidance.fits(A14B, "t2v", 4.0, None)
    assert not guidance.fits(A14B, "t2v", 1.0, None)
    assert not guidance.fits(A14B, "t2v", 4.0, "first_block")
    assert not guidance.fits(catalog.get("wan2.2-vace-fun-a14b"), "vace", 4.0, None)
    assert not guidance.fits(catalog.get("wan2.2-animate-14b"), "animate", 4.0, None)
    # as it was measured on an H200: 780, 1,755 and 2,860 tokens of TI2V-5B; and A14B's smallest clip of a usual shape
    clips = [(320, 192, 49), (480, 288, 49), (640, 352, 49)]
    works = [guidance.block_work(catalog.TI2V_5B, *clip) for clip in clips]
    assert [guidance.wins("auto", "cuda", work, fused=False) for work in works] == [True, True, False]
    assert [guidance.wins("auto", "cuda", work, fused=True) for work in works] == [True, False, False]
    assert not guidance.wins("auto", "cuda", guidance.block_work(A14B, 832, 480, 5), fused=False)
    assert not guidance.wins("auto", "cpu", works[0], fused=False)
    for fused in (False, True):
        assert [guidance.wins(wish, "cuda", works[2], fused=fused) for wish in ("on", "off")] == [True, False]
        assert not guidance.wins("off", "cuda", works[0], fused=fused)


def test_a_batch_counts_twice_and_is_the_first_thing_to_go() -> None:
    shape = (832, 480, 81)
    one, two = (needs(Burden(A14B, *shape), MemoryPlan(Where.STREAMED, batched=b)).device_bytes for b in (False, True))
    assert two - one == pytest.approx(20 * 32760 * 5120 * 2, rel=0.2)
    tight = Room((needs(Burden(A14B, *shape), MemoryPlan()).device_bytes + 1 * GB) / 0.94, 256 * GB)
    plans = list(fitting(Burden(A14B, *shape), tight, batched=True))
    assert plans[0] == MemoryPlan()
    assert MemoryPlan(Where.TEXT_VISITS, batched=True) in plans
    roomy = next(fitting(Burden(A14B, *shape), Room(200 * GB, 256 * GB), batched=True))
    assert roomy == MemoryPlan(batched=True)
    assert smaller(A14B, roomy, decoding=False) == MemoryPlan()
    assert smaller(A14B, roomy, decoding=True) == MemoryPlan(tiled=True, batched=True)


def test_out_of_memory_parts_them(models_dir: Path, render: Render, tmp_path: Path) -> None:
    tight = Renderer(models_dir, "cpu", Wishes(batched_guidance="on"), MemoryLimits())

    def full(module: Any, args: Any) -> None:
        if type(module).__name__ == "WanTransformerBlock" and args[0].shape[0] == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(full)
    try:
        results = [draw(tight, request_for(tmp_path / name)) for name in ("a", "b")]
    finally:
        hook.remove()
    assert [result.recipe["plan"] for result in results] == ["resident", "resident"]
    assert results[0].recipe["frames_sha256"] == render().recipe["frames_sha256"]
