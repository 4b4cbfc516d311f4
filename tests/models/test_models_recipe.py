"""A recipe makes the same frames again, says what is missing when it cannot, and travels inside the video."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_parts import I2V, T2V, TI2V, Render, decoded, draw, moving

from models.media import output
from models.provenance.recipe import RecipeError
from models.render.renderer import Renderer
from models.render.rerender import rerender

I2V_4STEP = "wan2.2-i2v-a14b-4step-tiny"
VACE = "wan2.2-vace-fun-a14b-tiny"
ANIMATE, ANIMATE_2 = "wan2.2-animate-14b-tiny", "wan2.2-animate-2-14b-tiny"
FOUR = {"steps": 4, "guidance": 1.0, "guidance_2": 1.0, "shift": 5.0}


def test_rerender_makes_the_same_frames(
    renderer: Renderer, render: Render, models_dir: Path, picture: Path, tmp_path: Path
) -> None:
    first = render(I2V, "i2v", inputs={"image": str(picture)}, provenance={"job": "j1", "attempt": 2, "worker": "w"})
    written = json.loads(Path(first.recipe_path).read_text())
    assert written["provenance"] == {"job": "j1", "attempt": 2, "worker": "w"}
    (tmp_path / "kept").mkdir()
    shutil.copy(picture, tmp_path / "kept" / "another-name.bin")
    again = rerender(written, tmp_path / "kept", models_dir, tmp_path / "again", renderer=renderer)
    assert again.recipe["frames_sha256"] == first.recipe["frames_sha256"]
    assert np.array_equal(decoded(again.video), decoded(first.video))


def test_the_recipe_travels_inside_the_video_and_is_enough(
    renderer: Renderer, render: Render, models_dir: Path, tmp_path: Path
) -> None:
    first = render(seed=77)
    inside = output.read_recipe(Path(first.video))
    assert inside["seed"] == 77
    again = rerender(inside, None, models_dir, tmp_path / "again", renderer=renderer)
    assert again.recipe["frames_sha256"] == first.recipe["frames_sha256"]


def test_a_recipe_names_weights_versions_and_device(render: Render) -> None:
    made = render().recipe
    assert set(made["weights"]["files"]) >= {"transformer/diffusion_pytorch_model.safetensors"}
    assert made["scheduler"]["class"] == "UniPCMultistepScheduler"
    assert made["scheduler"]["config"]["flow_shift"] == 5.0
    assert made["scheduler"]["timesteps"] == [999.0, 937.0, 833.0, 625.0]
    assert made["boundary"] == 0.875
    assert made["libraries"]["torch"]
    assert made["device"]["type"] == "cpu"
    assert made["precision"]["vae"] == "float32"


def test_rerender_refuses_what_is_not_the_recipes(
    render: Render, models_dir: Path, picture: Path, tmp_path: Path
) -> None:
    made = dict(render(I2V, "i2v", inputs={"image": str(picture)}).recipe)
    with pytest.raises(RecipeError, match=r"image .* is not among the files"):
        rerender(made, None, models_dir, tmp_path / "a")
    made = dict(render(T2V).recipe)
    with pytest.raises(RecipeError, match="not those of the recipe"):
        rerender({**made, "weights": {"sha256": "0" * 64}}, None, models_dir, tmp_path / "b")


def test_rerender_says_when_the_frames_differ(
    renderer: Renderer, render: Render, models_dir: Path, tmp_path: Path
) -> None:
    made = {**render().recipe, "frames_sha256": "0" * 64, "attention": "flash"}
    with pytest.raises(RecipeError, match="attention was flash, is native"):
        rerender(made, None, models_dir, tmp_path / "out", renderer=renderer)


def test_a_video_without_a_recipe(tmp_path: Path) -> None:
    frames = np.full((5, 32, 32, 3), 90, dtype=np.uint8)
    output.write_video(tmp_path / "v.mp4", frames, 8, {})
    with pytest.raises(ValueError, match="carries no recipe"):
        output.read_recipe(tmp_path / "v.mp4")


@pytest.mark.parametrize("tasks", ["one of each pipeline", pytest.param("all", marks=pytest.mark.soak)])
def test_another_process_makes_the_same_frames_of_every_pipeline(
    render: Render, models_dir: Path, tmp_path: Path, tasks: str
) -> None:
    """And another seed makes others. What this process rendered before, or gave up, is in none of them."""
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    first, last = draw(inputs / "first.png", 90, 70), draw(inputs / "last.png", 70, 90, seed=3)
    clip, masks = moving(inputs / "clip.mkv", 6, 64, 64, 16), moving(inputs / "masks.mkv", 6, 64, 64, 16, mask=True)
    faces = moving(inputs / "faces.mkv", 6, 32, 32, 16, seed=3)
    start, ends = {"image": first}, {"image": first, "last_image": last}
    moves = {**start, "video": clip, "pose_video": clip, "face_video": faces}
    one = {"guidance": 1.0, "guidance_2": None, "steps": 1}
    two = {"guidance": 3.0, "guidance_2": 3.0, "steps": 2, "frames": 5}
    single = {**two, "guidance_2": None}
    ways: list[tuple[str, str, dict[str, Path], dict[str, Any]]] = [
        (T2V, "t2v", {}, two),
        (I2V, "flf2v", ends, two),
        (TI2V, "i2v", start, single),
        (VACE, "vace", {"video": clip, "mask_video": masks, **start}, two),
        (ANIMATE, "replace", {**moves, "background_video": clip, "mask_video": masks}, one),
        (ANIMATE_2, "animate", {**start, "video": clip}, one),
    ]
    if tasks == "all":
        ways += [
            (I2V, "i2v", start, two),
            (I2V_4STEP, "i2v", start, FOUR),
            (TI2V, "t2v", {}, single),
            (VACE, "r2v", start, two),
            (ANIMATE, "animate", moves, one),
        ]
    (tmp_path / "recipes").mkdir()
    for number, (model, task, files, more) in enumerate(ways):
        given = {role: str(path) for role, path in files.items()}
        made, other = (render(model, task, inputs=given, seed=seed, **more).recipe for seed in (7, 8))
        assert made["frames_sha256"] != other["frames_sha256"], (model, task)
        (tmp_path / "recipes" / f"{number:02}.json").write_text(json.dumps(made))
    program = (
        "import json, sys; from pathlib import Path;"
        "from models.render import renderer; from models.render.rerender import rerender;"
        "recipes, inputs, models, out = map(Path, sys.argv[1:]);"
        "warm = renderer.Renderer(models, 'cpu');"
        # it raises when the frames differ
        "[rerender(json.loads(p.read_text()), inputs, models, out / p.stem, renderer=warm)"
        " for p in sorted(recipes.iterdir())];"
        "print(len(list(out.glob('*/video.mp4'))))"
    )
    folders = [str(path) for path in (tmp_path / "recipes", inputs, models_dir, tmp_path / "again")]
    ran = subprocess.run([sys.executable, "-c", program, *folders], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split()[-1] == str(len(ways))
