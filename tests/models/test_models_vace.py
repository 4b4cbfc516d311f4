"""VACE: a clip is redrawn, a mask keeps what is black, references join in, and every input reaches the frames."""

from pathlib import Path

import pytest
from model_parts import Render, draw, moving, request_for

from models import catalog
from models.planning.request import RenderFault
from models.render.renderer import Renderer

VACE = "wan2.2-vace-fun-a14b-tiny"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving(tmp_path_factory.mktemp("vace") / "clip.mkv", 20, 96, 64, 16)


def test_every_input_of_vace_reaches_the_frames(render: Render, clip: Path, picture: Path, tmp_path: Path) -> None:
    other = moving(tmp_path / "other.mkv", 20, 96, 64, 16, seed=9)
    mask = draw(tmp_path / "mask.png", 64, 64)
    masks = moving(tmp_path / "masks.mkv", 20, 64, 64, 16, mask=True)
    base = {"video": str(clip)}
    ways = [
        ("vace", base),
        ("vace", {"video": str(other)}),
        ("vace", {**base, "mask": str(mask)}),
        ("vace", {**base, "mask_video": str(masks)}),
        ("vace", {**base, "image": str(picture)}),
        ("vace", {**base, "image": str(picture), "image_2": str(mask)}),
        ("r2v", {"image": str(picture)}),
    ]
    results = [render(VACE, task, inputs=inputs, steps=1) for task, inputs in ways]
    assert len({r.recipe["frames_sha256"] for r in results}) == len(ways)
    assert all((r.frames, r.width, r.height) == (9, 64, 64) for r in results)


def test_a_small_clip_is_brought_to_the_size_that_was_asked(render: Render, clip: Path) -> None:
    """The pipeline alone would go on with the clip's own, smaller size."""
    result = render(VACE, "vace", inputs={"video": str(clip)}, width=128, height=96)
    assert (result.width, result.height) == (128, 96)


def test_a_clip_that_is_too_short(renderer: Renderer, clip: Path, tmp_path: Path) -> None:
    request = request_for(tmp_path / "o", VACE, "vace", inputs={"video": str(clip)}, frames=25)
    with pytest.raises(RenderFault, match="video has 20 frames at 16 fps; 25") as caught:
        renderer.render(request, lambda _: None, lambda: False)
    assert caught.value.code == "invalid_input"


def test_inputs_choose_the_task() -> None:
    model = catalog.get(VACE)
    assert catalog.task_for(model, frozenset({"video", "mask", "image"})) == "vace"
    assert catalog.task_for(model, frozenset({"image"})) == "r2v"
    i2v = catalog.get("wan2.2-i2v-a14b")
    assert catalog.task_for(i2v, frozenset({"image", "last_image"})) == "flf2v"
    with pytest.raises(catalog.ShapeError, match="takes no audio"):
        catalog.task_for(model, frozenset({"video", "audio"}))
