"""Every Wan 2.2 base pipeline on tiny weights: what was asked for, and the same again for the same seed."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from model_parts import I2V, T2V, TI2V, Render, decoded, draw, request_for
from PIL import Image

from models.media import output
from models.planning.request import RenderFault, Stage
from models.render.renderer import Renderer
from models.weights.digest import sha256_of

PAIRS = [
    (I2V, "i2v"),
    (TI2V, "i2v"),
    *(pytest.param(*one, marks=pytest.mark.soak) for one in ((T2V, "t2v"), (TI2V, "t2v"))),
]


@pytest.mark.parametrize(("model", "task"), PAIRS)
def test_a_render_is_the_video_that_was_asked_for(render: Render, picture: Path, model: str, task: str) -> None:
    inputs = {"image": str(picture)} if task == "i2v" else {}
    result = render(model, task, width=96, height=64, frames=9, fps=12, inputs=inputs)
    with av.open(result.video) as box:
        stream = box.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"
        assert stream.average_rate == Fraction(12)
    frames = decoded(result.video)
    assert frames.shape == (9, 64, 96, 3)
    assert frames.std() > 1
    assert Image.open(result.poster).size == (96, 64)
    assert set(result.timings) == {s.value for s in Stage}
    moov, mdat = (Path(result.video).read_bytes().index(box) for box in (b"moov", b"mdat"))
    assert moov < mdat  # faststart: a player can begin before the end has arrived


def test_same_seed_same_bytes_other_seed_other_frames(render: Render) -> None:
    first, again, other = render(), render(), render(seed=2)
    assert sha256_of(Path(first.video)) == sha256_of(Path(again.video))
    assert first.recipe["frames_sha256"] == again.recipe["frames_sha256"] != other.recipe["frames_sha256"]


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a blue circle"},
        {"negative_prompt": "water"},
        {"guidance": 6.0},
        {"guidance_2": 1.5},
        {"shift": 3.0},
        {"steps": 5},
    ],
)
def test_every_word_of_a_request_reaches_the_frames(render: Render, change: dict[str, Any]) -> None:
    few = {"frames": 5, "steps": 3}
    assert render(**few).recipe["frames_sha256"] != render(**few | change).recipe["frames_sha256"]


def test_the_shift_of_one_render_is_not_the_next_ones(render: Render) -> None:
    first = render(shift=5.0)
    render(shift=12.0)
    assert render(shift=5.0).recipe["frames_sha256"] == first.recipe["frames_sha256"]


def test_one_model_is_warm_and_serves_all_its_tasks(renderer: Renderer, render: Render, picture: Path) -> None:
    render(TI2V, "t2v")
    assert renderer.lane == f"{TI2V}@fp32"
    loaded = renderer._loaded
    render(TI2V, "i2v", inputs={"image": str(picture)})
    assert renderer._loaded is loaded
    render(T2V, "t2v")
    assert renderer.lane == f"{T2V}@fp32"


def test_a_picture_of_another_shape_is_covered_not_stretched(render: Render, tmp_path: Path) -> None:
    """TI2V-5B keeps the first frame: the middle of a wide picture is there, its sides are not."""
    wide = Image.new("RGB", (300, 100), (255, 0, 0))
    wide.paste((0, 0, 255), (90, 0, 210, 100))  # a filter reads a little beyond its pixels
    wide.save(tmp_path / "wide.png")
    square = Image.new("RGB", (64, 64), (0, 0, 255))
    square.save(tmp_path / "square.png")
    cut = render(TI2V, "i2v", inputs={"image": str(tmp_path / "wide.png")})
    plain = render(TI2V, "i2v", inputs={"image": str(tmp_path / "square.png")})
    assert cut.recipe["frames_sha256"] == plain.recipe["frames_sha256"]


def test_the_picture_reaches_the_frames(render: Render, picture: Path, tmp_path: Path) -> None:
    other = draw(tmp_path / "other.png", 320, 200, seed=3)
    hashes = {render(I2V, "i2v", inputs={"image": str(p)}).recipe["frames_sha256"] for p in (picture, other)}
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"frames": 10}, "nearest: 9 or 13"),
        ({"width": 71}, "nearest: 70 or 72"),
        ({"model": "wan-9"}, "unknown model"),
        ({"task": "i2v"}, "does t2v"),
    ],
)
def test_a_request_that_cannot_be_rendered_is_the_jobs_fault(
    renderer: Renderer, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(RenderFault, match=says) as caught:
        renderer.render(request_for(tmp_path, **{"model": T2V, "task": "t2v", **change}), lambda _: None, lambda: False)
    assert caught.value.code == "invalid_input"


def test_a_picture_that_is_none(renderer: Renderer, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    request = request_for(tmp_path / "out", I2V, "i2v", inputs={"image": str(tmp_path / "text.png")})
    with pytest.raises(RenderFault, match="broken or cut off") as caught:
        renderer.render(request, lambda _: None, lambda: False)
    assert caught.value.code == "invalid_input"


def test_numbers_that_are_no_numbers_are_no_video(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    """Weights that went bad in memory: the render fails, the process is not to be trusted."""
    render()
    weight = renderer._loaded.experts[0].blocks[0].ffn.net[2].weight  # type: ignore[union-attr]
    weight.data.fill_(float("nan"))
    try:
        with pytest.raises(RenderFault, match="not finite") as caught:
            renderer.render(request_for(tmp_path / "nan"), lambda _: None, lambda: False)
    finally:
        renderer.unload()
    assert caught.value.code == "bad_output"
    assert caught.value.poisoned
    assert not (tmp_path / "nan" / "video.mp4").exists()


def test_a_decoder_that_answers_black_to_everything_is_no_video(
    renderer: Renderer, render: Render, tmp_path: Path
) -> None:
    render()
    last = renderer.pipe_for("t2v").vae.decoder.conv_out
    last.weight.data.fill_(0.0)
    last.bias.data.fill_(-9.0)
    try:
        with pytest.raises(RenderFault, match="every frame is black") as caught:
            renderer.render(request_for(tmp_path / "black"), lambda _: None, lambda: False)
    finally:
        renderer.unload()
    assert (caught.value.code, caught.value.poisoned) == ("bad_output", True)
    assert not any((tmp_path / "black").iterdir())


def test_black_is_no_video() -> None:
    with pytest.raises(RenderFault, match="black"):
        output.check_visible(np.zeros((3, 16, 16, 3), np.uint8))


def test_colours_survive_the_encoder(tmp_path: Path) -> None:
    """Flat colours come back within two steps of 8 bits: the colour matrix that is written is the one that is used."""
    colours = np.array([[200, 30, 40], [20, 180, 60], [30, 60, 200], [240, 240, 240]], dtype=np.uint8)
    frames = np.broadcast_to(colours[:, None, None, :], (4, 64, 64, 3)).copy()
    output.write_video(tmp_path / "v.mp4", frames, 4, {"model": "m", "prompt": "p"})
    with av.open(str(tmp_path / "v.mp4")) as box:
        assert box.streams.video[0].codec_context.colorspace == 1  # BT.709
    back = decoded(tmp_path / "v.mp4")
    assert np.abs(back.astype(int) - frames).max() <= 4
