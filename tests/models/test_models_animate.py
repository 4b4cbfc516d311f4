"""Wan-Animate: the loop makes the stock pipeline's frames, any length, the clip's own rate, and its sound."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from model_parts import Render, decoded, film, moving, request_for, samples

from models import catalog
from models.media import clips, output
from models.planning.request import Cancelled, Progress, RenderFault, Stage
from models.render import animate
from models.render.renderer import Renderer

ANIMATE = "wan2.2-animate-14b-tiny"
ONE: dict[str, Any] = {"guidance": 1.0, "guidance_2": None}


@pytest.fixture(scope="module")
def guides(tmp_path_factory: pytest.TempPathFactory, picture: Path) -> dict[str, str]:
    """A clip of 21 frames (three segments of 9 that overlap by 1, the last one padded) and everything drawn from it."""
    folder = tmp_path_factory.mktemp("guides")
    film(folder / "clip.mp4", 21, Fraction(30000, 1001), "aac")
    moving(folder / "poses.mkv", 21, 64, 64, Fraction(30000, 1001))
    moving(folder / "faces.mkv", 21, 32, 32, Fraction(30000, 1001), seed=3)
    moving(folder / "backgrounds.mkv", 21, 64, 64, Fraction(30000, 1001), seed=7)
    moving(folder / "masks.mkv", 21, 64, 64, Fraction(30000, 1001), mask=True)
    names = {"pose_video": "poses", "face_video": "faces", "background_video": "backgrounds", "mask_video": "masks"}
    found = {role: str(folder / f"{name}.mkv") for role, name in names.items()}
    return {"image": str(picture), "video": str(folder / "clip.mp4"), **found}


def inputs_of(guides: dict[str, str], task: str) -> dict[str, str]:
    roles = catalog.get(ANIMATE).roles(task)
    return {role: path for role, path in guides.items() if role in roles}


@pytest.mark.parametrize(
    ("task", "guidance"),
    [
        ("animate", 1.0),
        ("replace", 2.0),
        pytest.param("animate", 2.0, marks=pytest.mark.soak),
        pytest.param("replace", 1.0, marks=pytest.mark.soak),
    ],
)
def test_the_loop_makes_the_stock_pipelines_frames(
    renderer: Renderer, render: Render, guides: dict[str, str], task: str, guidance: float
) -> None:
    import torch
    from PIL import Image

    from models.media import pictures
    from models.render.noise_schedule import scheduler_for

    inputs = inputs_of(guides, task)
    ours = render(ANIMATE, task, inputs=inputs, guidance=guidance, guidance_2=None, steps=2)
    loaded = renderer._loaded
    assert loaded is not None
    pipe = loaded.pipe_for(task)
    pipe.scheduler = scheduler_for(loaded.scheduler, 5.0)

    def pil(role: str, mode: str = "RGB") -> list[Any]:
        return [Image.fromarray(frame).convert(mode) for frame in clips.read(inputs[role])]

    kept = {}
    if task == "replace":
        masks = [mask.point(lambda value: 255 if value > 127 else 0) for mask in pil("mask_video", "L")]
        kept = {"background_video": pil("background_video"), "mask_video": masks}
    stock = pipe(
        image=pictures.cover(pictures.read(inputs["image"]), 64, 64),
        pose_video=pil("pose_video"),
        face_video=pil("face_video"),
        **kept,
        prompt="a red fox runs through snow",
        negative_prompt="blurry",
        mode=task,
        height=64,
        width=64,
        segment_frame_length=9,
        prev_segment_conditioning_frames=1,
        num_inference_steps=2,
        guidance_scale=guidance,
        generator=torch.Generator("cpu").manual_seed(1),
        output_type="pt",
    ).frames[0]
    assert output.frames_sha256(output.to_bytes(stock)) == ours.recipe["frames_sha256"]


def test_length_rate_and_sound_are_the_clips(render: Render, guides: dict[str, str]) -> None:
    result = render(ANIMATE, "animate", inputs=inputs_of(guides, "animate"), fps=16, frames=9, **ONE)
    assert result.frames == 21
    with av.open(result.video) as box:
        assert box.streams.video[0].average_rate == Fraction(30000, 1001)
    assert len(decoded(result.video)) == 21
    before, _ = samples(Path(guides["video"]))
    after, _ = samples(Path(result.video))
    assert np.array_equal(before, after)
    assert result.recipe["clip"] == {"fps": "30000/1001", "frames": 21, "sound": True}


def test_a_silent_clip_makes_a_silent_result(render: Render, guides: dict[str, str], tmp_path: Path) -> None:
    silent = film(tmp_path / "silent.mp4", 21, Fraction(30000, 1001))
    result = render(ANIMATE, "animate", inputs={**inputs_of(guides, "animate"), "video": str(silent)}, **ONE)
    with av.open(result.video) as box:
        assert not box.streams.audio


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(2, [(0, 9)]), (9, [(0, 9)]), (10, [(0, 9), (8, 17)]), (17, [(0, 9), (8, 17)]), (18, [(0, 9), (8, 17), (16, 25)])],
)
def test_segments(frames: int, expected: list[tuple[int, int]]) -> None:
    found = animate.segments(frames, 9, 1)
    assert [(s.start, s.stop) for s in found] == expected
    assert catalog.segments_of(catalog.get(ANIMATE), frames) == len(expected)


def test_segments_of_full_size() -> None:
    """77 frames a segment, of which one is the last one's: every frame is drawn once, no segment for nothing."""
    model = catalog.get("wan2.2-animate-14b")
    assert model.segment is not None
    for frames, expected in ((2, 1), (76, 1), (77, 1), (78, 2), (153, 2), (154, 3), (3600, 48)):
        found = animate.segments(frames, *model.segment)
        assert len(found) == catalog.segments_of(model, frames) == expected
        new = [n for number, piece in enumerate(found) for n in (piece[1:] if number else piece)]
        assert new == list(range(found[-1].stop))
        assert found[-1].start + 1 < frames <= found[-1].stop or expected == 1


def test_a_clip_of_one_frame_has_no_segments() -> None:
    with pytest.raises(ValueError, match="one frame"):
        animate.segments(1, 77, 1)


def test_beyond_its_end_a_clip_runs_backwards() -> None:
    assert [animate.reflected(n, 4) for n in range(10)] == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert [animate.reflected(n, 2) for n in range(5)] == [0, 1, 0, 1, 0]


def test_progress_counts_steps_over_all_segments(renderer: Renderer, guides: dict[str, str], tmp_path: Path) -> None:
    told: list[Progress] = []
    request = request_for(tmp_path / "o", ANIMATE, "animate", inputs=inputs_of(guides, "animate"), **ONE)
    renderer.render(request, told.append, lambda: False)
    steps = [p.step for p in told if p.stage is Stage.DENOISING]
    assert steps == sorted(steps)
    assert max(steps) == 12
    assert all(p.steps == 12 for p in told if p.stage is Stage.DENOISING)
    fractions = [p.fraction for p in told]
    assert fractions == sorted(fractions)


def test_cancel_in_the_second_segment(
    renderer: Renderer, render: Render, guides: dict[str, str], tmp_path: Path
) -> None:
    inputs = inputs_of(guides, "animate")
    before = render(ANIMATE, "animate", inputs=inputs, **ONE)
    told: list[Progress] = []
    request = request_for(tmp_path / "o", ANIMATE, "animate", inputs=inputs, **ONE)
    with pytest.raises(Cancelled):
        renderer.render(request, told.append, lambda: bool(told) and told[-1].step == 6)
    assert list((tmp_path / "o").iterdir()) == []
    assert render(ANIMATE, "animate", inputs=inputs, **ONE).recipe["frames_sha256"] == before.recipe["frames_sha256"]


def test_guides_that_do_not_go_together(renderer: Renderer, guides: dict[str, str], tmp_path: Path) -> None:
    inputs = inputs_of(guides, "animate")
    short = moving(tmp_path / "short.mkv", 12, 32, 32, Fraction(30000, 1001))
    without = {role: path for role, path in inputs.items() if role != "face_video"}
    for given, says in (({**inputs, "face_video": str(short)}, "12 frames"), (without, "face_video is missing")):
        request = request_for(tmp_path / "o", ANIMATE, "animate", inputs=given, **ONE)
        with pytest.raises(RenderFault, match=says) as caught:
            renderer.render(request, lambda _: None, lambda: False)
        assert caught.value.code == "invalid_input"


def test_work_grows_with_segments() -> None:
    model = catalog.get("wan2.2-animate-14b")
    shape = {"width": 1280, "height": 720, "steps": 20, "guidance": 1.0}
    one, two = (catalog.work_tflop(model, frames=frames, **shape) for frames in (77, 153))
    assert two == 2 * one
    assert one == pytest.approx(131_000, rel=0.01)  # the reference's own count: 131 PFLOP a segment


ANIMATE_2 = "wan2.2-animate-2-14b-tiny"
CFG: dict[str, Any] = {"guidance": 3.0, "guidance_2": None, "steps": 2}


@pytest.fixture(scope="module")
def driven(guides: dict[str, str]) -> dict[str, str]:
    return {"image": guides["image"], "video": guides["video"]}


def test_animate_2_follows_a_clip_without_guides(renderer: Renderer, render: Render, driven: dict[str, str]) -> None:
    """Length, rate and sound are the clip's; shift, guidance, seed and picture reach the frames."""
    first = render(ANIMATE_2, "animate", inputs=driven, **CFG)
    assert first.frames == 21
    assert first.fps == pytest.approx(29.97, abs=0.01)
    assert np.array_equal(samples(Path(driven["video"]))[0], samples(Path(first.video))[0])
    assert first.recipe["scheduler"]["timesteps"] == pytest.approx([1000.0, 24.414], abs=0.01)
    changes: list[dict[str, Any]] = [{"guidance": 1.0}, {"shift": 3.0, "prompt": "a dog"}]
    short = {**driven, "video": str(film(Path(driven["video"]).parent / "short.mp4", 5, 25))}
    hashes = [
        render(ANIMATE_2, "animate", inputs=short, **{**CFG, **change}).recipe["frames_sha256"]
        for change in ({}, *changes, {})
    ]
    assert len(set(hashes)) == 3
    assert hashes[0] == hashes[-1]


def test_animate_2_makes_the_stock_pipelines_frames(renderer: Renderer, render: Render, driven: dict[str, str]) -> None:
    import torch
    from diffusers import ClassifierFreeGuidance
    from diffusers.modular_pipelines.wan_animate_2.modular_blocks_wan_animate_2 import WanAnimate2Blocks
    from PIL import Image

    from models.media import pictures
    from models.render.noise_schedule import scheduler_for

    ours = render(ANIMATE_2, "animate", inputs=driven, **CFG)
    loaded = renderer._loaded
    assert loaded is not None
    pipe = loaded.pipe_for("animate")
    stock = WanAnimate2Blocks().init_pipeline()
    parts = {name: part for name, part in pipe.components.items() if name != "scheduler"}
    stock.update_components(**parts, scheduler=scheduler_for(loaded.scheduler, 5.0))
    stock.update_components(guider=ClassifierFreeGuidance(guidance_scale=3.0))
    with torch.compiler.set_stance("force_eager"):
        video = stock(
            prompt="a red fox runs through snow",
            negative_prompt="blurry",
            image=pictures.cover(pictures.read(driven["image"]), 64, 64),
            driving_video=[pictures.cover(Image.fromarray(f), 64, 64) for f in clips.read(driven["video"])],
            height=64,
            width=64,
            segment_frame_length=9,
            num_inference_steps=2,
            generator=torch.Generator("cpu").manual_seed(1),
            output_type="pt",
            output="videos",
        )[0]
    theirs = output.to_bytes(video)
    assert theirs.shape == (21, 64, 64, 3)
    # the clip's end is filled up in another way (theirs fails on clips shorter than half a segment)
    whole = slice(0, 17)
    assert output.frames_sha256(theirs[whole]) == output.frames_sha256(frames_before_encoding(renderer, driven)[whole])
    assert ours.frames == 21


def frames_before_encoding(renderer: Renderer, driven: dict[str, str]) -> Any:
    """What the loop makes, as it is handed to the encoder."""
    import tempfile

    from models.progress.render_monitor import RenderMonitor
    from models.render import animate2
    from models.render.noise_schedule import scheduler_for

    loaded = renderer._loaded
    assert loaded is not None
    pipe = loaded.pipe_for("animate")
    pipe.scheduler = scheduler_for(loaded.scheduler, 5.0)
    with tempfile.TemporaryDirectory() as folder:
        request = request_for(Path(folder), ANIMATE_2, "animate", inputs=driven, **CFG)
        facts, watch = clips.probe(driven["video"]), RenderMonitor(lambda _: None, lambda: False)
        return animate2.animate(pipe, request, facts, watch, piece=(9, 1), most=100).array()


@pytest.mark.parametrize("frames", [2, 10, *(pytest.param(n, marks=pytest.mark.soak) for n in (3, 9))])
def test_animate_2_takes_short_clips(render: Render, driven: dict[str, str], tmp_path: Path, frames: int) -> None:
    clip = film(tmp_path / "short.mp4", frames, 25)
    result = render(ANIMATE_2, "animate", inputs={**driven, "video": str(clip)}, **{**CFG, "steps": 1})
    assert result.frames == frames


@pytest.mark.soak
def test_animate_2_stops_inside_a_step(
    renderer: Renderer, render: Render, driven: dict[str, str], tmp_path: Path
) -> None:
    before = render(ANIMATE_2, "animate", inputs=driven, **CFG)
    told: list[Progress] = []
    request = request_for(tmp_path / "o", ANIMATE_2, "animate", inputs=driven, **CFG)
    with pytest.raises(Cancelled):
        renderer.render(request, told.append, lambda: bool(told) and told[-1].step == 3)
    assert told[-1].steps == 6
    after = render(ANIMATE_2, "animate", inputs=driven, **CFG)
    assert after.recipe["frames_sha256"] == before.recipe["frames_sha256"]


@pytest.mark.parametrize("model", [ANIMATE, ANIMATE_2])
def test_a_clip_of_one_frame(renderer: Renderer, driven: dict[str, str], tmp_path: Path, model: str) -> None:
    clip = film(tmp_path / "one.mp4", 1, 25)
    guidance = CFG if model == ANIMATE_2 else ONE
    request = request_for(tmp_path / "o", model, "animate", inputs={**driven, "video": str(clip)}, **guidance)
    with pytest.raises(RenderFault, match="frame 0") as caught:
        renderer.render(request, lambda _: None, lambda: False)
    assert caught.value.code == "invalid_input"
