"""Looking at clips as a user does: the command and a whole render, on real networks that tell a figure from an empty
frame, say the same of a clip that cannot be followed, and name the frame. And calibrating, with a render that uses it.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from model_parts import T2V, Render, request_for
from pose_parts import shot, standing

from models import catalog
from models.acceleration import lossy
from models.planning.request import RenderFault
from models.preprocess import tiny_eyes
from models.render.renderer import Renderer
from models.weights import tiny
from tests.farm.cli.cli_run import run

ANIMATE = catalog.get("wan2.2-animate-14b")
WIDE, HIGH = 256, 320
#: between what the random network says of an empty frame and of one with a figure in it
_BETWEEN = -1.0


def _seeing(folder: Path, *, all_as_one: bool) -> None:
    """A detector that is sure of somebody where there is a figure: of one, or of as many as it has queries."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = tiny_eyes.detector()
        says = model.model.decoder.class_embed[-1]
        says.bias.copy_((says.bias - _BETWEEN) * -100)
        says.weight.mul_(-100)
        if all_as_one:
            # every query's box is the same one
            model.model.decoder.bbox_embed[-1].layers[-1].bias.fill_(20.0)
        model.save_pretrained(str(folder), safe_serialization=True)


@pytest.fixture(scope="module")
def lookout(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models' folders of a farm with Animate under its real name: `one` sees one person, `many` many."""
    folders = {}
    eyes = tiny_eyes.ensure(models_dir)
    for name in ("one", "many"):
        folder = folders[name] = tmp_path_factory.mktemp(name)
        (folder / ANIMATE.id).symlink_to(tiny.ensure(models_dir, f"{ANIMATE.id}-tiny"))
        _seeing(folder / "preprocess/person", all_as_one=name == "one")
        for part in ("pose", "mask"):
            (folder / "preprocess" / part).symlink_to(eyes / part)
    return folders


def figure(number: int) -> list[Any]:
    return [standing(128 + number, 10, 290)]


CLIPS: dict[str, tuple[str, list[list[Any]], list[int] | None, str]] = {
    "nobody": ("one", [[]] * 3, None, "no person is seen in frame 0 (0.00 s)"),
    "gone": ("one", [*map(figure, range(4)), *[[]] * 9], None, "no person is seen in frame 4 (0.25 s)"),
    "several": ("many", [figure(0)] * 2, None, "people are seen in frame 0 (0.00 s)"),
    "cut": ("one", [figure(0)] * 6, [60] * 4 + [220] * 2, "another shot begins at frame 4 (0.25 s)"),
    "one": ("one", [figure(0)], None, "the clip ends at frame 0"),
}


@pytest.mark.parametrize(
    "name", ["gone", "cut", *(pytest.param(name, marks=pytest.mark.soak) for name in ("nobody", "several", "one"))]
)
def test_what_cannot_be_followed_is_said_alike(name: str, lookout: dict[str, Path], tmp_path: Path) -> None:
    sees, poses, grounds, says = CLIPS[name]
    clip = shot(tmp_path / "clip.mkv", poses, WIDE, HIGH, grounds)
    seen = run("models", "preprocess", clip, "--show", tmp_path / "sheets", "--models-dir", lookout[sees])
    assert seen.code == 1
    assert says in seen.err
    picture = shot(tmp_path / "picture.mkv", [figure(0)], WIDE, HIGH)
    inputs = {"image": str(_still(picture, tmp_path / "picture.png")), "video": str(clip)}
    renderer = Renderer(lookout[sees], "cpu")
    request = replace(
        request_for(tmp_path / "out", ANIMATE.id, "animate", inputs=inputs, width=256, height=320, guidance=1.0),
        guidance_2=None,
    )
    with pytest.raises(RenderFault) as fault:
        renderer.render(request, lambda _: None, lambda: False)
    assert fault.value.code == "invalid_input"
    assert fault.value.message in seen.err


def _still(clip: Path, path: Path) -> Path:
    import av

    with av.open(str(clip)) as box:
        next(box.decode(video=0)).to_image().save(path)
    return path


def test_a_calibrated_model_renders_with_mag(models_dir: Path, renderer: Renderer, render: Render) -> None:
    file = lossy.ratios_file(models_dir, catalog.get(T2V))
    file.unlink(missing_ok=True)
    wish: dict[str, Any] = {"options": {"lossy": "mag"}, "steps": 8}
    with pytest.raises(RenderFault, match="was not calibrated"):
        render(**wish)
    done = run("models", "calibrate", T2V, "--size", "64x64x9", "--models-dir", models_dir, "--json")
    assert done.document == {"model": T2V, "file": str(file)}
    # as many as the model's own steps, each expert its own
    assert [len(ratios) for ratios in json.loads(file.read_text()).values()] == [6, 6]
    told = render(**wish).recipe["caches"]
    assert [(one["name"], one["part"]) for one in told] == [("mag", "transformer"), ("mag", "transformer_2")]
    for other in ("wan2.2-vace-fun-a14b-tiny", "wan2.2-animate-14b-tiny"):
        wrong = run("models", "calibrate", other, "--models-dir", models_dir)
        assert (wrong.code, f"mag is not right for {other}" in wrong.err) == (1, True)
